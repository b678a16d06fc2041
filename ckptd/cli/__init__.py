"""Parse, call one `App` method, show a table or JSON, return the exit status; one module per group of verbs."""
