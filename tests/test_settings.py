"""Settings: every problem at once, in the words of the source that has it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckptd.errors import SettingsError
from ckptd.settings import Settings, find_config, load_settings
from ckptd.settings.load import known_keys
from ckptd.settings.sample import documented_settings, generated_files, render_sample, render_settings
from ckptd.settings.units import parse_duration, parse_size

PROJECT = Path(__file__).parents[1]


def problems(config=None, overrides=None, **environ):
    with pytest.raises(SettingsError) as caught:
        load_settings(config, overrides, environ)
    assert caught.value.exit_status == 2
    return list(caught.value.problems)


@pytest.fixture
def file(tmp_path):
    def write(text):
        path = tmp_path / "ckptd.toml"
        path.write_text(text)
        return path

    return write


def recipe(**changes):
    return {"match": "BiLSTM_*", "callable": "models:BiLSTM", **changes}


def nested(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    return value


def test_without_any_source_the_defaults_hold():
    """A newcomer sets nothing."""
    settings = load_settings(None, None, {})
    assert settings.roots == (Path("trained_models"),)
    assert settings.suffixes == (".pth",)
    assert 1 <= settings.inspect.workers <= 4


def test_the_command_line_beats_the_environment_beats_the_file(file):
    """Tables are merged key by key."""
    path = file('suffixes = [".pt"]\n[watch]\nbackend = "inotify"\nguard_seconds = 1\nsettle_seconds = 1\n')
    environ = {"CKPTD_WATCH__GUARD_SECONDS": "2", "CKPTD_WATCH__SETTLE_SECONDS": "2"}
    settings = load_settings(path, {"watch": {"settle_seconds": 3}}, environ)
    assert settings.suffixes == (".pt",)
    watch = settings.watch
    assert (watch.backend, watch.guard_seconds, watch.settle_seconds) == ("inotify", 2, 3)


def test_all_problems_come_at_once_each_with_its_source(file):
    """File, environment and command line each answer for their own."""
    path = file('sufixes = [".pth"]\n[watch]\nbakend = "auto"\n[inspect]\nworkers = 0\n')
    found = problems(path, {"log": {"format": "xml"}}, CKPTD_TYPO="1", CKPTD_LOG__LEVEL="loud")
    assert f'{path}: sufixes: is not a setting; did you mean "suffixes"?' in found
    assert f'{path}: watch.bakend: is not a setting; did you mean "watch.backend"?' in found
    assert f"{path}: inspect.workers: Input should be greater than or equal to 1" in found
    assert "environment: CKPTD_LOG__LEVEL: Input should be 'debug', 'info', 'warning' or 'error'" in found
    assert "command line: log.format: Input should be 'auto', 'console' or 'json'" in found
    assert any(line.startswith("environment: CKPTD_TYPO: is not a setting") for line in found)
    assert len(found) == 6


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CKPTD_ROOT", "CKPTD_ROOTS"),
        ("CKPTD_WATCH__BAKEND", "CKPTD_WATCH__BACKEND"),
        ("CKPTD_WATCH_BACKEND", "CKPTD_WATCH__BACKEND"),
        ("ckptd_suffix", "CKPTD_SUFFIXES"),
    ],
)
def test_a_slip_in_the_environment_is_an_error(name, meant):
    """pydantic-settings passes an unknown name at the top over in silence; we don't."""
    (line,) = problems(**{name: "x"})
    assert line == f"environment: {name.upper()}: is not a setting; did you mean {meant}?"


@pytest.mark.parametrize(
    ("key", "meant"),
    [("backend", "watch.backend"), ("watch.settle", "watch.settle_seconds"), ("logs.level", "log.level")],
)
def test_a_key_in_the_wrong_place_is_found_where_it_belongs(file, key, meant):
    """The nearest key is looked for in every table."""
    table, _, name = key.rpartition(".")
    (line,) = problems(file((f"[{table}]\n" if table else "") + f"{name} = 1\n"))
    assert f'did you mean "{meant}"?' in line or (table == "logs" and 'did you mean "log"?' in line)


def test_a_missing_file_that_was_named_is_an_error(tmp_path):
    """pydantic-settings reads no file and says nothing."""
    for found in (problems(tmp_path / "no.toml"), problems(CKPTD_CONFIG=str(tmp_path / "no.toml"))):
        assert found[0].startswith(f"{tmp_path}/no.toml: no such file")


def test_a_syntax_error_names_file_line_and_column(file):
    """Tomllib knows the place but not the file."""
    path = file("roots = []\nsuffixes = [\n!]\n")
    assert problems(path)[0] == f"{path}: line 3, column 1: Invalid value"
    path = file("")
    path.write_bytes(b"# \xff\n")
    assert problems(path) == [f"{path}: byte 2: is not UTF-8"]
    path.unlink()
    path.mkdir()
    assert problems(path) == [f"{path}: Is a directory"]


def test_a_broken_file_does_not_hide_the_environment(file):
    """All at once means all sources."""
    assert len(problems(file("= 1"), CKPTD_TYPO="1")) == 2


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"roots": ["a", "a/b"]}, "a/b lies inside a"),
        ({"roots": ["a/b/c", "x", "a"]}, "a/b/c lies inside a"),
        ({"roots": ["/", "/a"]}, "/a lies inside /"),
        ({"roots": ["a", "./a"]}, "the same directory"),
        ({"roots": []}, "at least one directory"),
        ({"roots": [""]}, "for the present directory"),
        ({"state_dir": ""}, "for the present directory"),
        ({"suffixes": ["pth"]}, 'write it with its dot: ".pth"'),
        ({"suffixes": [".json"]}, "no checkpoints"),
        ({"suffixes": [".pth.tmp"]}, "no checkpoints"),
        ({"suffixes": ["./x"]}, "not a file name ending"),
        ({"suffixes": []}, "at least one ending"),
        ({"ignore": ["/abs/*"]}, "not relative to a root"),
        ({"ignore": ["../up"]}, "not relative to a root"),
        ({"ignore": [""]}, "not relative to a root"),
        ({"watch": {"settle_seconds": "10 parsecs"}}, "not a duration"),
        ({"watch": {"settle_seconds": True}}, "is a duration"),
        ({"watch": {"settle_seconds": float("inf")}}, "finite"),
        ({"watch": {"settle_seconds": -1}}, "greater than or equal to 0"),
        ({"inspect": {"memory_bytes": "2 GiB of it"}}, "not a size"),
        ({"inspect": {"memory_bytes": "1MiB"}}, "greater than or equal to 134217728"),
        ({"watch": 3}, "Input should be"),
        ({"export": {"targets": ["onx"]}}, 'is not an export target; did you mean "onnx"?'),
        ({"export": {"targets": ["TorchScript"]}}, 'did you mean "torchscript"?'),
        ({"export": {"targets": ["qqq"]}}, "there are safetensors float16"),
        ({"export": {"quiet_seconds": -1}}, "greater than or equal to 0"),
        ({"export": {"seconds": 0}}, "greater than 0"),
        ({"export": {"memory_bytes": "1MiB"}}, "greater than or equal to 536870912"),
        ({"export": {"workers": 0}}, "greater than or equal to 1"),
        ({"export": {"sandbox": "off"}}, "'required' or 'best_effort'"),
        ({"export": {"min_free_bytes": -1}}, "greater than or equal to 0"),
        ({"export": {"opset": 10}}, "greater than or equal to 11"),
        ({"export": {"opset": 24}}, "less than or equal to 23"),
        ({"export": {"external_data_bytes": "2GiB"}}, "less than or equal to 2147483647"),
        ({"trust": {"callables": ["torch.hub"]}}, "name the callable itself: "),
        ({"trust": {"callables": ["models:*"]}}, "name the callable itself: "),
        ({"trust": {"callables": ["models:"]}}, "name the callable itself: "),
        ({"trust": {"callables": ["models."]}}, "name the callable itself: "),
        ({"trust": {"callables": ["models.:x"]}}, "name the callable itself: "),
        ({"trust": {"callables": [":x"]}}, "name the callable itself: "),
        ({"trust": {"callables": ["models:os.system"]}}, "name the callable itself: "),
        ({"trust": {"callables": ["models:__import__"]}}, "name the callable itself: "),
        ({"trust": {"classes": ["models.*"]}}, "name the class itself: "),
        ({"trust": {"classes": ["models"]}}, "name the class itself: "),
        ({"trust": {"classes": ["torch."]}}, "name the class itself: "),
        ({"trust": {"classes": ["__main__.Net"]}}, "name the class itself: "),
        ({"trust": {"digests": ["abc"]}}, "the 64 hex digits"),
        ({"trust": {"directories": ["/"]}}, "holds everything there is"),
        ({"trust": {"directories": ["/srv/*"]}}, "is a pattern"),
        ({"trust": {"directories": [""]}}, "for the present directory"),
        ({"recipe": [recipe(callable="models.BiLSTM")]}, "recipe.0.callable: 'models.BiLSTM' could be more than one thing"),
        ({"recipe": [recipe(), recipe(calable="m:x")]}, 'recipe.1.calable: is not a setting; did you mean "callable"?'),
        ({"recipe": [{"match": "*"}]}, "recipe.0.callable: Field required"),
        ({"recipe": [recipe(match="")]}, "at least 1 character"),
        ({"recipe": [recipe(hyperparameters={"a": [None]})]}, "null can't be written in TOML"),
        ({"recipe": [recipe(hyperparameters={"a": float("nan")})]}, "not finite"),
        ({"recipe": [recipe(hyperparameters={"a": [0] * 10_001})]}, "more than 10,000 values"),
        ({"recipe": [recipe(hyperparameters={"a": nested(20)})]}, "nests deeper than 16"),
        (
            {"recipe": [recipe(inputs=[{"shape": [1], "hi": 3}])]},
            'recipe.0.inputs.0.hi: is not a setting; did you mean "high"?',
        ),
        ({"recipe": [recipe(inputs=[{"shape": [0]}])]}, "recipe.0.inputs.0.shape: a size is 1 to"),
        ({"recipe": [recipe(inputs=[{"shape": [True]}])]}, "a size is a whole number"),
        ({"recipe": [recipe(inputs=[{"shape": [2.5]}])]}, "a size is a whole number"),
        ({"recipe": [recipe(inputs=[{"shape": ["a b"]}])]}, "is no name"),
        ({"recipe": [recipe(inputs=[{"shape": [1] * 9}])]}, "more than 8"),
        ({"recipe": [recipe(inputs=[{"shape": [1 << 20, 1 << 20]}])]}, "give a smaller example"),
        ({"recipe": [recipe(inputs=[{"shape": [1], "dtype": "float"}])]}, "no element type of an input; there are float32"),
        ({"recipe": [recipe(inputs=[{"shape": [1], "dtype": "int64"}])]}, 'needs "high"'),
        ({"recipe": [recipe(inputs=[{"shape": [1], "high": 3}])]}, '"high" is for integers'),
        ({"recipe": [recipe(inputs=[{"shape": [1], "name": "a-b"}])]}, "is no name"),
        ({"recipe": [recipe(inputs=[{"shape": [1]}] * 17)]}, "at most 16"),
        ({"recipe": [recipe(outputs=["y", "y"])]}, "'y' names two inputs or outputs"),
        ({"recipe": [recipe(outputs=["y y"])]}, "is no name"),
    ],
)
def test_what_makes_no_sense_is_refused(values, word):
    """Each rule of the model has a value that breaks it and a sentence that says so."""
    (line,) = problems(overrides=values)
    assert line.startswith("command line: ")
    assert word in line


def test_a_root_through_a_link_is_still_nested(tmp_path):
    """Roots are compared by where they lead."""
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "inner")
    (line,) = problems(overrides={"roots": [tmp_path / "real", tmp_path / "link"]})
    assert "lies inside" in line


def test_siblings_with_a_common_beginning_are_not_nested():
    """/srv/a and /srv/ab share letters, not a directory."""
    assert len(load_settings(None, {"roots": ["/srv/a", "/srv/ab"]}, {}).roots) == 2


def test_usual_suffixes_are_accepted():
    """The endings people use."""
    usual = (".pth", ".pt", ".ckpt", ".pth.tar", ".bin", ".th")
    assert load_settings(None, {"suffixes": usual}, {}).suffixes == usual


@pytest.mark.parametrize(
    ("text", "roots"), [("/a", ["/a"]), ('["/a", "/b"]', ["/a", "/b"]), ("/with space,and comma", ["/with space,and comma"])]
)
def test_a_list_in_the_environment_is_json_or_one_value(text, roots):
    """Nobody should need JSON for one directory."""
    assert load_settings(None, None, {"CKPTD_ROOTS": text}).roots == tuple(map(Path, roots))


def test_the_projects_own_variables_are_no_settings():
    """A soak test's environment reaches the daemons it starts."""
    load_settings(None, None, {"CKPTD_SOAK_KILLS": "3", "CKPTD_BENCH_PEERS": "x", "CKPTD_FUZZ_CASES": "1"})


def test_which_file_is_read(tmp_path, monkeypatch):
    """Named, then $CKPTD_CONFIG, then the user's; the present directory never."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ckptd.toml").write_text("roots = 3")
    own = tmp_path / "home" / ".config" / "ckptd" / "ckptd.toml"
    home = {"HOME": str(tmp_path / "home")}
    assert find_config(None, home) in {None, Path("/etc/ckptd/ckptd.toml")}
    own.parent.mkdir(parents=True)
    own.write_text("")
    assert find_config(None, home) == own
    assert find_config(None, {**home, "XDG_CONFIG_HOME": str(tmp_path / "home" / ".config")}) == own
    assert find_config(None, {**home, "CKPTD_CONFIG": "x.toml"}) == Path("x.toml")
    assert find_config(Path("y.toml"), {**home, "CKPTD_CONFIG": "x.toml"}) == Path("y.toml")


@pytest.mark.root
def test_settings_in_a_home_that_is_closed_to_us_are_none_of_ours(tmp_path):
    """As after a change of users that kept the environment: nothing fails, and the system's are read."""
    own = tmp_path / "home" / ".config" / "ckptd" / "ckptd.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        assert find_config(None, {"HOME": str(tmp_path / "home")}) in {None, Path("/etc/ckptd/ckptd.toml")}
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("2GiB", 2 << 30), ("500MB", 500_000_000), ("1.5 KiB", 1536), ("7", 7), ("3k", None), ("1kb", 1000), ("", None)],
)
def test_sizes(text, value):
    """Binary and decimal units, a plain number, nothing else."""
    if value is None:
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(text)
    else:
        assert parse_size(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10m", 600),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("2d", 172_800),
        ("1w", 604_800),
        ("0.25", 0.25),
        ("1 h 5 s", 3605),
        ("m", None),
        ("1h x", None),
        ("", None),
    ],
)
def test_durations(text, value):
    """Units one after the other, a plain number, nothing else."""
    if value is None:
        with pytest.raises(ValueError, match="is not a duration"):
            parse_duration(text)
    else:
        assert parse_duration(text) == pytest.approx(value)


@given(st.text(max_size=30))
def test_no_text_is_a_surprise(text):
    """Any text is a number or a ValueError, for sizes and for durations."""
    for parse in (parse_size, parse_duration):
        try:
            value = parse(text)
        except ValueError:
            continue
        assert value >= 0


def test_generated_files_are_up_to_date():
    """Run `make config` when this fails."""
    for path, text in generated_files(PROJECT).items():
        assert path.read_text() == text, f"{path} is not what the model says; run make config"


def leaves(table, above=()):
    """Give the path to every value that is no table; an empty table has none."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key)


def test_the_sample_sets_nothing_until_a_key_is_uncommented(tmp_path):
    """As it is, it is the defaults; with every key uncommented it is valid, and every key is there."""
    sample = render_sample()
    assert not list(leaves(tomllib.loads(sample)))
    uncommented = re.sub(r"(?m)^#(\w+ = )", r"\1", sample)
    values = tomllib.loads(uncommented)
    path = tmp_path / "all.toml"
    path.write_text(uncommented)
    load_settings(path, None, {})
    present = {key[:length] for key in leaves(values) for length in range(1, len(key) + 1)}
    assert present >= set(known_keys())
    assert all(any(key[:length] in known_keys() for length in range(1, len(key) + 1)) for key in leaves(values))


def test_every_key_has_a_description_and_its_unit():
    """Units are in the name and in the description."""
    for setting in documented_settings():
        assert setting.description
        if setting.key.endswith("_seconds"):
            assert "seconds" in setting.description
        if setting.key.endswith("_bytes"):
            assert "bytes" in setting.description


def test_shown_settings_are_a_settings_file(tmp_path):
    """What `config show` prints gives the same settings when it is read."""
    settings = load_settings(None, {"roots": ["/a b", '/c"d'], "state_dir": "/s", "ignore": ["x/**"]}, {})
    path = tmp_path / "shown.toml"
    path.write_text(render_settings(settings))
    assert load_settings(path, None, {}) == settings


def test_three_lines_switch_exports_on(file):
    """Dotted keys and an inline table, as the README shows them."""
    path = file(
        'export.targets = ["safetensors", "onnx"]\n'
        'trust.directories = ["~/models"]\n'
        'recipe = [{ match = "BiLSTM_*", callable = "models:BiLSTM" }]\n'
    )
    settings = load_settings(path, None, {})
    assert settings.export.targets == ("safetensors", "onnx")
    assert settings.trust.directories == (Path.home() / "models",)
    assert [(item.match, item.callable) for item in settings.recipe] == [("BiLSTM_*", "models:BiLSTM")]


def test_nothing_is_exported_and_nobody_is_trusted_by_default():
    """Code runs only where somebody said so."""
    settings = load_settings(None, None, {})
    assert settings.export.targets == ()
    assert settings.recipe == ()
    assert not any(settings.trust.model_dump().values())
    assert settings.export.sandbox == "required"
    assert settings.export.workers >= 1
    assert settings.export.memory_bytes >= 512 << 20


def test_recipes_in_the_environment_are_json():
    """A list of objects, or one object; a mistake is named with its place in it."""
    text = json.dumps([recipe(inputs=[{"shape": ["batch", 12]}], hyperparameters={"hidden": 3})])
    for value in (text, text[1:-1]):
        (found,) = load_settings(None, None, {"CKPTD_RECIPE": value}).recipe
        assert found.hyperparameters == {"hidden": 3}
        assert found.inputs[0].shape == ("batch", 12)
    assert load_settings(None, None, {"CKPTD_RECIPE": ""}).recipe == ()
    (line,) = problems(CKPTD_RECIPE='[{"match": "a", "callable": "m:x", "calable": 1}]')
    assert line == 'environment: CKPTD_RECIPE: 0.calable: is not a setting; did you mean "callable"?'
    (line,) = problems(CKPTD_RECIPE="[{")
    assert line.startswith("environment: CKPTD_RECIPE: is no JSON list")


def test_a_digest_is_taken_as_sha256sum_prints_it():
    """Upper case and a prefix are the same digest."""
    settings = load_settings(None, {"trust": {"digests": ["SHA256:" + "AB" * 32, "ab" * 32]}}, {})
    assert settings.trust.digests == ("ab" * 32,)


def test_shown_recipes_are_recipes(tmp_path):
    """Inline tables with strange keys survive the way through TOML."""
    wanted = recipe(
        hyperparameters={"a b": {"x": [1, 2.5, True, 'q"']}, "": {}},
        inputs=[{"name": "x", "shape": ["batch", 2]}],
        outputs=["y"],
    )
    settings = load_settings(None, {"recipe": [wanted], "export": {"memory_bytes": "1GiB"}}, {})
    path = tmp_path / "shown.toml"
    path.write_text(render_settings(settings))
    assert load_settings(path, None, {}) == settings


def test_settings_alone_read_the_environment(monkeypatch):
    """`Settings()` is what a library user gets."""
    monkeypatch.setenv("CKPTD_ROOTS", "/x")
    monkeypatch.setenv("CKPTD_WATCH__BACKEND", "polling")
    settings = Settings()
    assert settings.roots == (Path("/x"),)
    assert settings.watch.backend == "polling"


def test_the_schema_knows_sizes_and_durations():
    """An editor accepts what the loader accepts."""
    schema = json.loads((PROJECT / "config" / "ckptd.schema.json").read_text())
    kinds = {part["type"] for part in schema["$defs"]["WatchSettings"]["properties"]["settle_seconds"]["anyOf"]}
    assert kinds == {"number", "string"}
