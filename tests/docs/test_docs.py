"""Documentation is tested: what exists is documented, and what is documented exists."""

from __future__ import annotations

import ast
import re
import tomllib

import pytest

from ckptd.checkpoint.findings import FINDINGS
from ckptd.cli.cures import find_cure
from ckptd.cli.verbs import VERBS
from ckptd.jobs.record_json import record_to_json
from ckptd.model import Container, Kind, PlaceState, Severity, Status
from ckptd.notify.kinds import KINDS
from ckptd.settings import load_settings
from ckptd.settings.notify import HOOK_EVENTS
from ckptd.wire import inspection_to_json
from tests.cli.fake import Check, Summary, inspection, record
from tests.docs.pages import AROUND, PROJECT, commands, generated_pages

README = (PROJECT / "README.md").read_text()
DOCS = PROJECT / "docs"
SOURCES = sorted((PROJECT / "ckptd").rglob("*.py"))

#: Words of the source that have the form of a finding's code and are none.
NOT_FINDINGS = {"utf-8", "latin-1"}
EVENT = re.compile(
    r"(daemon|checkpoint|sidecar|export|scan|root|watch|worker|inspection|index|library|retention|trash|archive|job|scrub|drill|report|health|control|settings|alert|hook)\.[a-z_]+"
)


def page(name):
    return (DOCS / name).read_text()


def strings(path):
    """Give every string literal of a module, its docstrings left out."""
    tree = ast.parse(path.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    }


@pytest.mark.parametrize("path", list(generated_pages()), ids=lambda path: path.name)
def test_generated_pages_are_up_to_date(path):
    """Run `make config` when this fails."""
    assert path.read_text() == generated_pages()[path]


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_readme_has_every_command(verb):
    """In its table of commands."""
    assert re.search(rf"^\| `ckptd {verb}\b", README, re.MULTILINE)


def test_the_readme_has_every_option_and_argument():
    """Those of each verb; the ones that all share once."""
    for name, command, _ in commands():
        for option in command.params:
            for spelling in option.opts if option.param_type_name == "option" else [option.metavar.strip("[].")]:
                assert spelling in README, f"{name}: {spelling}"


def test_the_readme_has_every_status():
    """Of a process and of a file; commands.md has them by verb."""
    for status in (0, 1, 2, 3, 4, 5, 130):
        assert re.search(rf"^\| .*\b{status}\b", README, re.MULTILINE)
    for status in Status:
        assert f"| `{status.value}` |" in README


def test_commands_in_the_readme_exist():
    """Each `ckptd …` in a code block or code span parses: verb, and its options."""
    known = {name.removeprefix("ckptd").strip(): command for name, command, _ in commands()}
    seen = 0
    for line in re.findall(
        r"(?:\.venv/bin/)?ckptd [a-z-][^\n`]*", "\n".join(re.findall(r"```(?:bash|text)\n(.*?)```", README, re.DOTALL))
    ):
        words = re.sub(r'"[^"]*"', "X", re.split(r"  +|#", line)[0]).split()[1:]
        if words[0] == "--config":
            del words[:2]
        verb = words[0]
        assert verb in known, line
        options = {spelling for parameter in known[verb].params for spelling in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, line
        seen += 1
    assert seen >= 5


def test_make_targets_in_the_documents_exist():
    """And files that they name."""
    makefile = (PROJECT / "Makefile").read_text()
    for text in (README, (PROJECT / "CONTRIBUTING.md").read_text()):
        for target in re.findall(r"`?make ([a-z]+)`", text) + re.findall(r"```bash\nmake ([a-z]+)", text):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize(
    "path", [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name
)
def test_links_lead_somewhere(path):
    """Every relative link of every page."""
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text()):
        if "://" not in link:
            assert (path.parent / link).exists(), link


def test_the_index_of_docs_has_every_page():
    """A page nobody finds is not there."""
    for path in DOCS.glob("*.md"):
        assert path.name == "README.md" or f"]({path.name})" in page("README.md")


def test_the_settings_in_the_readme_are_valid(tmp_path):
    """Each TOML block is a settings file; those of the page about recipes too."""
    blocks = re.findall(r"```toml\n(.*?)```", README + page("recipes.md"), re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        tomllib.loads(block)
        path = tmp_path / "readme.toml"
        path.write_text(block)
        load_settings(path, None, {})


def test_the_python_in_the_readme_compiles_and_names_what_exists():
    """Its names come from the public API."""
    import ckptd

    (block,) = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "import ckptd" in text]
    tree = ast.parse(block)
    used = {
        n.attr
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "ckptd"
    }
    assert used >= {"inspect", "open", "load", "save"}
    assert used <= set(ckptd.__all__)


def keys_of(value, prefix=""):
    for key, inner in value.items():
        yield f"{prefix}{key}"
        if isinstance(inner, dict) and key in {"tensors", "metadata"}:
            yield from keys_of(inner, f"{key}.")


def test_every_json_key_is_documented():
    """Of inspect, ls and show, scan, doctor."""
    text = page("json.md")
    for key in {
        *keys_of(inspection_to_json(inspection())),
        *record_to_json(record(), whole=True),
        *Summary.__dataclass_fields__,
        *Check.__dataclass_fields__,
    }:
        assert f"`{key}`" in text, key
    for values in (Status, Container, Kind, PlaceState, Severity):
        for value in values:
            assert f"`{value.value}`" in text, value


def test_every_finding_in_the_source_is_documented():
    """Whatever room has it; the engine's come from its table."""
    rooms = ("checkpoint", "watch", "metadata", "jobs", "sandbox", "storage", "cli", "loading", "export")
    known = {*FINDINGS, *AROUND}
    made = set()
    for path in SOURCES:
        if path.relative_to(PROJECT / "ckptd").parts[0] in rooms:
            made |= set(
                re.findall(
                    r'(?:Finding|_note|_find|finding|finding_json|Problem)\([^"()]*"([a-z]+(?:-[a-z]+)*)"', path.read_text()
                )
            )
    assert made - NOT_FINDINGS <= known
    for code in known:
        assert f"| `{code}` |" in page("findings.md")


def test_every_finding_of_weight_has_a_cure():
    """What to do, or nothing where nothing is wrong."""
    for code, meaning in FINDINGS.items():
        assert find_cure(code) or meaning.severity is Severity.INFO or meaning.weight in {"foreign", "failed"}, code


#: Where events are logged.
_LOGGING = {"jobs", "daemon.py", "app.py", "api.py", "logs.py", "opening.py", "watch"}


def test_the_log_events_of_the_source_are_those_of_the_page():
    """Both ways: an event that is not documented, and one that nobody logs."""
    documented = set(re.findall(r"^\| `([a-z_.]+)` \|", page("logs.md"), re.MULTILINE))
    used = set()
    for path in SOURCES:
        if path.relative_to(PROJECT / "ckptd").parts[0] in _LOGGING:
            used |= {text for text in strings(path) if EVENT.fullmatch(text) and not text.endswith((".sqlite", ".json"))}
    assert used == documented


@pytest.mark.parametrize("name", ["alerts.md", "hooks.md"])
def test_the_settings_on_the_pages_about_telling_are_valid(tmp_path, name):
    """As they stand there."""
    blocks = re.findall(r"```toml\n(.*?)```", page(name), re.DOTALL)
    assert blocks
    for block in blocks:
        path = tmp_path / "page.toml"
        path.write_text(block)
        load_settings(path, None, {})


def test_every_alert_is_documented():
    """With its severity, whether it ends, and what to do; and no other."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning|info) \| (yes|no) \|", page("alerts.md"), re.MULTILINE)
    assert rows == [(name, kind.severity.value, "yes" if kind.lasts else "no") for name, kind in KINDS.items()]


def test_every_event_that_a_hook_is_run_on_is_documented():
    """In the table of its page."""
    assert re.findall(r"^\| `([a-z]+\.[a-z]+)` \|", page("hooks.md"), re.MULTILINE) == list(HOOK_EVENTS)


def test_every_promise_names_what_shows_it():
    """The tests and bench rows on the page exist, and every line of it names one."""
    text = page("promises.md")
    for file, name in re.findall(r"`((?:[a-z]+/)*test_[a-z0-9_]+\.py)(?:::(test_\w+))?`", text):
        source = (PROJECT / "tests" / file).read_text()
        assert not name or f"def {name}(" in source, (file, name)
    rows = (PROJECT / "bench" / "run.py").read_text()
    for row in re.findall(r"bench row `(\w+)`", text):
        assert f'"{row}": ' in rows, row
    for line in re.findall(r"^\| (?!promise|---)(.*) \|$", text, re.MULTILINE):
        assert re.search(r"`[a-z_/0-9]*test_|bench row `|`make |`\.ci/run`", line.partition("|")[2]), line
