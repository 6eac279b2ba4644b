"""YAML as people write it, and as nobody should: every trap has words, bounds hold before anything is built."""

from __future__ import annotations

from typing import Any

import pytest

from femtobarn.experiments import document, experiment
from femtobarn.experiments.document import ConfigError
from femtobarn.models import MODELS, model_spec
from femtobarn.models.settings_schema import MAX_SETTING, MAX_WIDTH
from femtobarn.studies import study

PLAIN = {"data": {"sample": "four-top"}, "model": {"name": "part"}, "task": {"signal": ["tttt"]}}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: {<<: {x: 1, y: 2}, x: 3}}", {"a": {"x": 3, "y": 2}}),
        ("a: {x: 3, <<: {x: 1, y: 2}}", {"a": {"x": 3, "y": 2}}),  # wherever the key stands
        ("a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b], z: 0}", {"x": 1, "y": 2, "z": 0}),
        ("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, x: 5}", {"x": 5, "y": 2}),  # merged twice over
        ("a: &a {x: {p: 1}}\nc: {<<: *a, x: {q: 2}}", {"x": {"q": 2}}),  # not deeply, as YAML has it
        ("c: {'<<': 1}", {"<<": 1}),
    ],
)
def test_merge_keys_bring_in_what_a_mapping_has_not(text, value):
    found = document.parse(text)
    assert found == value or found["c" if "c" in found else "a"] == value


def test_aliases_are_copies():
    found = document.parse("a: &a {x: [1]}\nb: *a")
    found["a"]["x"].append(2)
    assert found["b"] == {"x": [1]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0x1F", 31),
        ("-0o17", -15),
        ("1_000", 1000),
        ("1e3", 1000.0),
        ("-.5E-1", -0.05),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("=", "="),
        ("off", False),
        ("~", None),
        ('!!str "1"', "1"),
        ("!!float 1", 1.0),
        ("\ufeffa", "a"),
        ("", None),
    ],
)
def test_words_and_numbers_are_those_of_a_reader(text, value):
    found = document.parse(text)
    assert found == value
    assert type(found) is type(value)
    assert document.parse(document.write({"a": found}))["a"] == value


@pytest.mark.parametrize("word", ["1e5", "010", "1:30", "yes", "2020-01-01", "~", "<<", "=", "", "0x1", ".inf", "a: b"])
def test_words_that_look_like_something_else_stay_words(word):
    tree = {"label": word, word: [word]}
    assert document.parse(document.write(tree)) == tree


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("? [a, b]\n: 1\n", "line 1, column 3: a key must be a string, not a list"),
        ("{a: 1}: 2", "line 1, column 1: a key must be a string, not a mapping"),
        ("1: x", "the key 1 is read as a number; write '1'"),
        ("on: x", "the key on is read as true or false; write 'on'"),
        ("~: x", "a key is empty"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' occurs twice"),
        ("{<<: {a: 1}, <<: {b: 1}}", "the key '<<' occurs twice"),
        ("a: {<<: 5}", "<< needs a mapping"),
        ("a: &a [*a]", "line 1, column 4: contains itself"),
        ("a: &a {<<: *a}", "contains itself"),
        ("a: *b", "undefined alias"),
        ("a: &a 1\nb: &a 2", "line 2, column 4: found duplicate anchor 'a'"),
        ("a: !!python/object/apply:os.system ['ls']", "the tag '!!python/object/apply:os.system' is not supported"),
        ("a: !mine 1", "the tag '!mine' is not supported"),
        ("a: !!binary aGVsbG8=", "the tag '!!binary' is not supported"),
        ("a: !!int word", "'word' does not match its tag '!!int'"),
        ("a: !!bool perhaps", "'perhaps' does not match its tag '!!bool'"),
        (f"a: {'9' * 5000}", "is too long for a number"),
        (f"a: 0x{'f' * 5000}", "is too long for a number"),
        ("a:\n\t- b", "indent by spaces, not by tabs"),
        ("a: 1\n---\nb: 2", "line 2, column 1: a second document begins"),
        ('a: "b\\0c"', "line 1, column 4: 'b\\x00c' has characters that can't be printed"),
        ('a: "\\ud800"', "can't be printed"),
        ('a: "\\u202Ea"', "can't be printed"),
        ('"\\e[31m": 1', "can't be printed"),
        ("a: " + "[" * 100_000, "nested more than 40 levels deep"),
        ("{a: " * 100_000, "nested more than 40 levels deep"),
        ("- " * 2000 + "a", "nested more than 40 levels deep"),
    ],
)
def test_traps_of_yaml_are_answered_with_their_place(text, complaint):
    with pytest.raises(ConfigError) as error:
        document.parse(text)
    assert complaint in str(error.value)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("line", ["{k0: *a, k1: *a, k2: *a, k3: *a}", "{<<: [*a, *a, *a, *a]}", "[*a, *a, *a, *a]"])
def test_aliases_that_multiply_are_counted_before_they_are_written_out(line):
    lines = ["x: &a0 {k: 1}"]
    lines += [f"x{level}: &a{level} {line.replace('*a', f'*a{level - 1}')}" for level in range(1, 31)]
    with pytest.raises(ConfigError, match=r"more than 200000 keys and values with its aliases"):
        document.parse("\n".join(lines))


def test_aliases_do_not_nest_deeper_than_text():
    lines = ["x0: &a0 {k: 1}", *(f"x{level}: &a{level} {{k: *a{level - 1}}}" for level in range(1, 60))]
    with pytest.raises(ConfigError, match=r"nested more than 40 levels deep with its aliases"):
        document.parse("\n".join(lines))


def test_structures_are_counted_as_texts_are():
    deep: dict[str, object] = {"k": 1}
    for _ in range(20):
        deep = {f"k{number}": deep for number in range(9)}  # 9^20 entries if written out
    with pytest.raises(ConfigError, match="has more than 200000 keys and values"):
        experiment.load({**PLAIN, "data": {"files": deep}})
    deep["k0"] = deep
    with pytest.raises(ConfigError, match="contains itself"):
        study.load({"base": deep, "models": {"A": {}}})


def test_files_without_end_are_not_read(tmp_path):
    path = tmp_path / "long.yaml"
    path.write_bytes(b"a: " + b"x" * 3_000_000)
    with pytest.raises(ConfigError, match="has more than 2000000 bytes"):
        experiment.load(path)
    path.write_text("a: b\n", encoding="utf-16")
    with pytest.raises(ConfigError, match="it is UTF-16: save it as UTF-8"):
        experiment.load(path)


def test_values_are_shortened_before_they_are_written_out():
    wide: dict[str, object] = {"k": "v" * 1000}
    for _ in range(4):
        wide = {f"k{number}": wide for number in range(9)}
    for tree in ({"data": {"files": wide}}, {"data": wide}, {"label": wide}, {"training": {"lr": wide}}):
        with pytest.raises(ConfigError) as error:
            experiment.load({**PLAIN, **tree})
        assert len(str(error.value)) < 20_000
    with pytest.raises(ConfigError, match="and 70 more"):
        experiment.load({**PLAIN, **{f"wrong{number}": 1 for number in range(100)}})


@pytest.mark.parametrize(
    "override",
    [
        "model.blocks=100000000",
        "model.width=1000000",
        "model.heads=999999999999",
        "model.embedding=[1000000]",
        "model.ratio=100000",
        "inputs.slots=100000",
        "training.epochs=1e12",
        "training.epochs=1000000000",
        "training.batch_size=100000000000",
        "training.num_workers=5000",
        "training.threads=5000",
        "training.warmup=10000000000",
        "training.lr=.inf",
        "training.lr=.nan",
        "training.lr=1e400",
        "training.clip=.inf",
        "model.dropout=.nan",
        "evaluation.luminosity=.inf",
        "evaluation.systematic=.nan",
        "evaluation.bootstrap=1000000000",
        "data.split.train=.nan",
        "data.fraction=.nan",
        "data.luminosity=.inf",
        'label="a\\0b"',
        'task.signal="a\\nb"',
        'task.signal=""',
        "label=NUL",
        "label=com1.txt",
        f"label={'日' * 80}",
        "label=..",
        "label=a/b",
        "label=a\\b",
        f"label={'a' * 81}",
    ],
)
def test_settings_have_bounds_and_names_are_printable(override):
    path = override.partition("=")[0]
    plain = {"sample": None, "files": ["a.parquet"]} if path == "data.luminosity" else {"sample": "four-top"}
    with pytest.raises(ConfigError) as error:
        experiment.load({**PLAIN, "data": plain}, [override])
    text = str(error.value)
    assert path in text or "can't be printed" in text
    assert len(text) < 400


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_whole_number_of_a_model_has_an_upper_bound(name):
    fields = model_spec(name).schema.model_fields
    for key, field in fields.items():
        bound = MAX_SETTING.get(key, MAX_WIDTH)
        if type(field.default) is int:
            wrong: list[Any] = [bound + 1]
        elif isinstance(field.default, tuple) and field.default and isinstance(field.default[0], int | tuple):
            nested = isinstance(field.default[0], tuple)
            wrong = [[[MAX_WIDTH + 1]] if nested else [MAX_WIDTH + 1], [[8]] * 257 if nested else [8] * 257]
        else:
            continue
        for value in wrong:
            with pytest.raises(ConfigError, match=rf"model\.{key}: "):
                experiment.load({**PLAIN, "model": {"name": name, key: value}})


def test_a_network_too_large_for_any_machine_is_refused_before_it_is_built():
    with pytest.raises(ConfigError, match=r"it would have .* parameters; at most 2e\+09"):
        experiment.load({**PLAIN, "model": {"name": "part", "width": 16384, "blocks": 8}})


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"seeds": list(range(1001))}, "seeds: "),
        ({"seeds": list(range(200)), "sizes": [round(0.001 * part, 3) for part in range(1, 101)]}, "20000 runs"),
        ({"sizes": [1e-9]}, "sizes: the smallest, 1e-09, makes 2e.10 epochs; at most 1000000"),
        ({"models": {"a\x07b": {}}}, "models"),
    ],
)
def test_studies_have_bounds(change, complaint):
    with pytest.raises(ConfigError, match=complaint):
        study.load({"base": PLAIN, "models": {"A": {}}, **change})


def test_overrides_have_bounds():
    with pytest.raises(ConfigError, match=r"is not of the form section.key=value"):
        experiment.load(PLAIN, [".".join(["a"] * 100_000) + "=1"])
    with pytest.raises(ConfigError, match="nested more than 40"):
        experiment.load(PLAIN, ["training.lr=" + "[" * 5000])
