"""The settings of channels and hooks: what can't work, or would tell a secret, is refused in one sentence."""

from __future__ import annotations

import json

import pytest

from ckptd.errors import SettingsError
from ckptd.settings import load_settings
from ckptd.settings.sample import render_settings
from ckptd.settings.urls import check_url

WEBHOOK = {"url": "https://alerts.example.org/x"}
EMAIL = {"host": "mail.example.org", "sender": "a@example.org", "recipients": ["b@example.org"]}
HOOK = {"on": "checkpoint.ready", "command": ["/bin/true"]}


def load(environ=None, **values):
    return load_settings(None, values, environ or {})


def problem(environ=None, **values):
    with pytest.raises(SettingsError) as caught:
        load(environ, **values)
    (line,) = caught.value.problems
    return line


def test_nobody_is_told_and_nothing_is_run_until_somebody_says_so():
    """A newcomer gets neither mail nor a process."""
    settings = load()
    assert not settings.notify.is_wanted
    assert settings.hook == ()


def test_a_channel_is_on_when_its_place_is_named():
    """Each by its own key."""
    settings = load(notify={"webhook": WEBHOOK, "command": {"command": ["/bin/true"]}})
    assert list(settings.notify.channels) == ["webhook", "command"]
    assert list(load(notify={"webhook": {"url_file": "url"}}).notify.channels) == ["webhook"]


def test_tables_in_tables_come_from_the_file_and_the_environment(tmp_path):
    """A name that is none is found in them too."""
    path = tmp_path / "ckptd.toml"
    path.write_text('[notify]\nfreshness = { "A · B" = "2h" }\n[notify.email]\nport = 25\n[[hook]]\non = "checkpoint.ready"\n'
                    'command = ["/bin/true"]\n')  # fmt: skip
    environ = {"CKPTD_NOTIFY__WEBHOOK__URL": WEBHOOK["url"]}
    settings = load_settings(path, None, environ)
    assert settings.notify.webhook.url == WEBHOOK["url"]
    assert settings.notify.email.port == 25
    assert settings.notify.freshness == {"A · B": 7200.0}
    assert settings.hook[0].timeout_seconds == 60.0
    again = tmp_path / "again.toml"
    again.write_text(render_settings(settings))
    assert load_settings(again, None, {}) == settings
    path.write_text("[notify.webhook]\nurll = 'x'\n")
    with pytest.raises(SettingsError, match=r'notify.webhook.urll: is not a setting; did you mean "notify.webhook.url"'):
        load_settings(path, None, {})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"webhook": {"url": "http://alerts.example.org/"}}, "in the clear"),
        ({"webhook": {"url": "https://user:pass@alerts.example.org/"}}, 'name that in "url_file"'),
        ({"webhook": {"url": "ftp://alerts.example.org/"}}, "no URL of a web server"),
        ({"webhook": {"url": "https:///x"}}, "no URL of a web server"),
        ({"webhook": {"url": "https://a/ b"}}, "no URL of a web server"),
        ({"webhook": {**WEBHOOK, "url_file": "x"}}, "both set"),
        ({"webhook": {**WEBHOOK, "secret_file": "keys/webhook"}}, "relative path"),
        ({"webhook": {**WEBHOOK, "ca_file": "ca.pem"}}, "relative path"),
        ({"email": {**EMAIL, "ca_file": "certs/ca.pem"}}, "relative path"),
        ({"email": {"host": "mail.example.org"}}, "are needed with it"),
        ({"email": {**EMAIL, "recipients": ["b@example.org\nBcc: c@example.org"]}}, "no mail address"),
        ({"email": {**EMAIL, "sender": "nobody"}}, "no mail address"),
        ({"email": {**EMAIL, "security": "none"}}, "in the clear"),
        (
            {"email": {**EMAIL, "host": "localhost", "security": "none", "username": "a", "password_file": "b"}},
            "without a login",
        ),
        ({"email": {**EMAIL, "username": "ckptd"}}, '"password_file" is needed'),
        ({"command": {"command": ["tell-us"]}}, "no absolute path"),
        ({"off": ["bitrot"]}, 'did you mean "bit-rot"?'),
        ({"severities": {"bit-rott": "info"}}, 'did you mean "bit-rot"?'),
        ({"freshness": {"A": "1s"}}, "a minute or more"),
        ({"freshness": {"A": "soon"}}, "is not a duration"),
    ],
)
def test_what_can_not_work_is_refused(values, why):
    """In the words of what to do."""
    assert why in problem(notify=values)


@pytest.mark.parametrize(
    "url", ["https://user:geh/eim@a.example.org/", "https://user:geheim@a.example.org\N{ACCOUNT OF}/", "https://[geheim]/x"]
)
def test_no_part_of_a_url_is_told(url):
    """What can't be taken apart may hold a password wherever one looks."""
    with pytest.raises(ValueError, match="no URL of a web server") as caught:
        check_url(url)
    assert "geh" not in str(caught.value)
    assert "geh" not in problem(notify={"webhook": {"url": url}})


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({**HOOK, "on": "checkpoint.read"}, "hook.0.on"),
        ({**HOOK, "command": []}, "hook.0.command"),
        ({**HOOK, "command": ["sh", "-c", "true"]}, "no absolute path"),
        ({**HOOK, "comand": 1}, 'did you mean "command"?'),
        ({**HOOK, "timeout_seconds": 0}, "greater than 0"),
    ],
)
def test_a_hook_that_can_not_work_is_refused(values, why):
    """By its number."""
    assert why in problem(hook=[values])


def test_hooks_come_as_json_from_the_environment():
    """One table, or a list of them; a slip is found in it."""
    assert load({"CKPTD_HOOK": json.dumps(HOOK)}).hook[0].on == "checkpoint.ready"
    assert len(load({"CKPTD_HOOK": json.dumps([HOOK, HOOK])}).hook) == 2
    assert "0.on" in problem({"CKPTD_HOOK": json.dumps([{**HOOK, "on": "x"}])})


def test_no_secret_is_shown_by_what_shows_settings(tmp_path):
    """The settings only name the file; what is in it is read where it is needed."""
    secret = tmp_path / "token"
    secret.write_text("hush-hush")
    settings = load(notify={"webhook": {**WEBHOOK, "secret_file": str(secret)}})
    assert str(secret) in render_settings(settings)
    for text in (render_settings(settings), repr(settings), settings.model_dump_json()):
        assert "hush-hush" not in text
