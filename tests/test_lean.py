"""What a daemon need not carry is not imported."""

import subprocess
import sys

import pytest

from ckptd.lean import without


def test_a_package_is_hidden_for_a_block_and_no_longer():
    """The block sees it as not installed; afterwards it can be imported as ever."""
    sys.modules.pop("wave", None)
    with without("wave"), pytest.raises(ImportError):
        import wave
    import wave

    assert wave.__name__ == "wave"


def test_what_is_imported_already_stays():
    """Nothing is taken from who uses it."""
    import json

    with without("json"):
        import json as again
    assert again is json


def test_the_daemon_imports_neither_rich_nor_torch():
    """4.7 MB and 223 MB, and 2.3 MB of a database that it has not; what exports need is imported in their workers."""
    code = (
        "import sys; from ckptd.logs import configure_logs; from ckptd import daemon\n"
        "names = ('rich', 'pygments', 'torch', 'numpy', 'onnx', 'safetensors', 'sqlalchemy.dialects.postgresql')\n"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_what_is_switched_off_is_not_imported():
    """Alerts and hooks weigh nothing until the settings want them; and what sends by web and mail is never in the daemon."""
    code = (
        "import sys; from ckptd.logs import configure_logs; from ckptd import daemon\n"
        "names = ('ckptd.notify', 'ckptd.jobs.alerting', 'ckptd.jobs.hooking', 'smtplib', 'http.client')\n"
        "before = [name for name in names if name in sys.modules]\n"
        "import ckptd.jobs.alerting, ckptd.jobs.hooking\n"
        "print(before, [name for name in ('smtplib', 'http.client') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[] []"
