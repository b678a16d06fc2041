"""What holds for all tests: none is skipped unnoticed where what it needs is there."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings
from hypothesis.internal.conjecture import providers

#: No example has a time limit: on a machine with much to do that would be a timed assertion.  Continuous integration takes
#: the same examples each time, so that what it meets is what the change before it did; a person's runs go on looking.
_TAKES_THE_SAME = bool(os.environ.get("PYTEST_NO_SKIPS"))
settings.register_profile("tests", deadline=None, derandomize=_TAKES_THE_SAME)
settings.load_profile("tests")
if _TAKES_THE_SAME:
    # Hypothesis 6.170 mixes the constants of all modules of ours that happen to be imported into the examples, so that these
    # depended on which tests a process ran before.
    assert hasattr(providers, "_get_local_constants"), "hypothesis has another way by now to find constants: look for it"
    _NO_CONSTANTS = providers.Constants()
    providers._get_local_constants = lambda: _NO_CONSTANTS

# Beside `&` in a script and below nohup an interrupt is ignored, and every program that a test starts inherits that; a closed
# umask is inherited as well, and what one user made for another one would be out of reach.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.umask(0o022)

#: Reasons that say something about the machine and nothing about the test.
_FAIR = ("no kernel headers here", "says what a machine without CUDA does")


#: Tests that fork this very process, as the product does with one thread only; so before torch and others start theirs.
_FORKING = (
    "test_confine.py",
    "test_once.py",
    "test_lock.py",
    "test_confined.py",
    "test_slimming.py",
    "test_faults.py",
    "test_parts.py",
    "test_scrubbing.py",
)


#: Files of minutes: each goes to one process as a whole.
_LONG = ("systemd/test_service.py", "soak/test_short.py")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests that fork first, then the longest files, so that none of those comes last and alone; else nothing moves."""
    items.sort(key=lambda item: (item.path.name not in _FORKING, not item.path.as_posix().endswith(_LONG)))


@pytest.fixture(autouse=True)
def _logs_of_its_own() -> Iterator[None]:
    """Forget how a test set up the logs: the next one's events must not go to a stream that is closed."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    if structlog.is_configured():
        structlog.reset_defaults()
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn skipped tests into a failure where `PYTEST_NO_SKIPS` is set, as continuous integration does."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not os.environ.get("PYTEST_NO_SKIPS"):
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if not str(report.longrepr[-1]).endswith(_FAIR)]
    for report in skipped:
        reporter.write_line(f"must not be skipped here: {report.nodeid}: {report.longrepr[-1]}", red=True)
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
