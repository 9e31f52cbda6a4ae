"""Prompts, stored answers, costs, and the configuration of a language model; the server: tests/integration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.config import TEXT_KINDS, GeneratorConfig, load_config
from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.texts.llm import batch, client, cost, prompts, store
from coder_clip.texts.llm.cost import Budget, Estimate
from coder_clip.texts.llm.generate import Generator, Item, class_items, pair_items
from coder_clip.texts.llm.prompts import Request
from coder_clip.texts.llm.store import Answer

COUNTS = {"attribute": 4, "analogous": 3, "synonym": 2, "one_to_one": 2}


def settings(**more: Any) -> GeneratorConfig:
    return GeneratorConfig.model_validate({"model": "tiny", **more})


def answer(text: str | None = "a_b", **more: Any) -> Answer:
    given = {
        "refusal": None,
        "finish": "stop",
        "served": "tiny-1",
        "prompt_tokens": 10,
        "completion_tokens": 20,
    }
    return Answer(**{"text": text, **given, "cost": 0.5, "date": "2026-11-01", **more})


def request_of(name: str = "red fox", kind: str = "attribute") -> Request:
    return class_items([kind], [name], Templates(), COUNTS)[0].request(settings(), False)


# ---- prompts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", prompts.KINDS)
@pytest.mark.parametrize("structured", [True, False])
def test_a_question_says_all_that_is_needed(kind: str, structured: bool) -> None:
    """A gap left in a prompt would be answered, and paid for, a thousand times."""
    templates = Templates(name="a photo of a {class}, a type of pet.")
    if kind == "one_to_one":
        (item,) = pair_items([(0, 1)], ["red_fox", "arctic fox"], templates, 3)
    else:
        (item,) = class_items([kind], ["red_fox"], templates, COUNTS)
    item.rejected = ["a {class} of braces"]
    (_, system), (_, question) = item.request(settings(), structured).messages
    assert "{" not in system + question.replace("a {class} of braces", "")
    assert "red fox" in question
    assert "a photo of a red fox, a type of pet." in question
    assert "a {class} of braces" in question, "a text of a model is no template"
    assert ("JSON" in question) is structured
    assert ("underscore" in question) is not structured
    if kind == "one_to_one":
        assert "arctic fox" in question


def test_a_class_name_is_no_template() -> None:
    (item,) = class_items(["attribute"], ["{count} {photo}"], Templates(), COUNTS)
    assert "{count} {photo}" in item.request(settings(), False).messages[1][1]


def test_an_edited_prompt_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of an old prompt under the new one's name."""
    text = (prompts.FOLDER / "synonym.txt").read_text()
    (tmp_path / "synonym.txt").write_text(text.replace("everyday", "plain"))
    before = prompts.template("synonym")
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    prompts.template.cache_clear()
    after = prompts.template("synonym")
    prompts.template.cache_clear()
    assert before.version == after.version
    assert before.sha256 != after.sha256


def test_half_a_prompt_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "synonym.txt").write_text("version: 1\n\n[system]\nx\n[user]\ny\n")
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    prompts.template.cache_clear()
    with pytest.raises(ValueError, match=r"synonym\.txt"):
        prompts.template("synonym")
    prompts.template.cache_clear()


# ---- stored answers ----------------------------------------------------------------------------------


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    odd = answer(
        '{"texts": ["長い尾", "\\u0000", "line\u2028break", "emoji 🦊"]}', cost=None, prompt_tokens=None
    )
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of(), odd)
        assert answers.get(request_of()) == odd
    assert store.read(tmp_path, "foxes").get(request_of()) == odd
    assert (tmp_path / "foxes.jsonl").read_bytes().count(b"\n") == 1


def test_what_another_data_set_asked_is_not_asked_again(tmp_path: Path) -> None:
    """ImageNet-V2 has ImageNet's classes."""
    with store.opened(tmp_path, "imagenet") as answers:
        answers.add(request_of(), answer())
    with store.opened(tmp_path, "imagenet_v2") as answers:
        assert answers.get(request_of()) == answer()
    assert store.spent(tmp_path) == 0.5


@pytest.mark.parametrize(
    "left", [b'{"key": "ab', b"\xff\xfe\x00", b"null", b"{}", b'{"key": 3, "request": []}']
)
def test_a_line_that_was_cut_short_costs_that_line(
    tmp_path: Path, left: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of("a"), answer("first"))
    with (tmp_path / "foxes.jsonl").open("ab") as stream:
        stream.write(left)
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of("b"), answer("second"))
    found = store.read(tmp_path, "foxes")
    assert [a.text for a in found.found.values()] == ["first", "second"]
    assert "1 lines that are no whole answers" in caplog.text


def test_an_answer_under_the_wrong_question_does_not_count(tmp_path: Path) -> None:
    """Someone mended a text in the file by hand: then it is no answer of that model to that question."""
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of("red fox"), answer())
    path = tmp_path / "foxes.jsonl"
    path.write_text(path.read_text().replace("red fox", "grey fox"))
    found = store.read(tmp_path, "foxes")
    assert found.get(request_of("grey fox")) is None
    assert found.get(request_of("red fox")) is None


def test_of_two_merged_answers_the_first_counts(tmp_path: Path) -> None:
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of(), answer("first"))
    path = tmp_path / "foxes.jsonl"
    path.write_text(path.read_text() + path.read_text().replace("first", "later"))
    assert store.read(tmp_path, "foxes").get(request_of()) == answer("first")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write in"), store.opened(tmp_path / "file", "foxes"):
        pass


# ---- what is done with answers -----------------------------------------------------------------------


def taken(kind: str, *texts: str | None, classes: tuple[str, ...] = ("red fox", "wolf")) -> Item:
    item = class_items([kind], classes, Templates(), COUNTS)[0]
    for i, text in enumerate(texts):
        item.take(str(i), answer(text))
    return item


def test_the_own_name_is_no_text() -> None:
    assert taken("attribute", "a red fox_Red Fox", "bushy tail_the red fox").texts["texts"] == ["bushy tail"]
    assert taken("synonym", "Red-Fox; wolf; vulpes vulpes").texts["texts"] == ["vulpes vulpes"]
    assert taken("analogous", "the wolf_jackal").texts["texts"] == ["jackal"]


def test_an_answer_of_the_own_name_alone_is_asked_again() -> None:
    item = taken("attribute", "red fox")
    assert item.again(repeats=3)
    assert not taken("synonym", "red fox").again(repeats=3), "that there is no synonym is an answer"


def test_no_more_texts_are_taken_than_were_asked_for() -> None:
    """The thousandth attribute of a class would outweigh all others."""
    assert len(taken("attribute", "_".join(f"part {i}" for i in range(5000))).texts["texts"]) == 4


def test_asking_again_ends() -> None:
    for kind, most in (("attribute", 4), ("analogous", 6), ("synonym", 4)):
        item = taken(kind)
        while item.asked == 0 or item.again(repeats=3):
            item.take("x", answer("I'm sorry, but I can't."))
        assert item.asked == most
        assert item.failed


def test_a_question_the_server_did_not_answer_is_not_counted_as_asked() -> None:
    """The next run must ask the same question, or the same store would give other texts."""
    item = taken("attribute")
    first = item.request(settings(), False).key
    item.take("", "no answer")
    assert not item.again(repeats=3)
    assert item.failed
    assert item.request(settings(), False).key == first


# ---- money -------------------------------------------------------------------------------------------


def test_tokens_of_other_scripts_are_not_underestimated() -> None:
    assert cost.tokens("a long striped tail") == 5
    assert cost.tokens("長い縞模様の尾") >= 5


def test_stored_answers_make_the_estimate_better(tmp_path: Path) -> None:
    prices = settings(prices={"date": "2026-11-01", "input": 1, "output": 1000}).prices
    with store.opened(tmp_path, "foxes") as answers:
        guess = cost.estimate(request_of("x"), 4, answers, prices, False)
        for name in "abcde":
            answers.add(request_of(name), answer(completion_tokens=300))
        measured = cost.estimate(request_of("x"), 4, answers, prices, False)
        batch = cost.estimate(request_of("x"), 4, answers, prices, True)
    assert (guess.completion_tokens, measured.completion_tokens) == (50, 300)
    assert batch.money == pytest.approx(measured.money / 2)  # type: ignore[operator]


def test_a_budget_counts_what_is_under_way() -> None:
    budget = Budget(spent=1.0, limit=2.0, currency="USD")
    each = Estimate(1, 0, 0, 0.4)
    budget.start(each)
    budget.start(each)
    with pytest.raises(UserError, match=r"max_cost 2\.00 USD \(1\.00 spent\)"):
        budget.start(each)
    budget.end(each)
    budget.paid(answer(cost=0.1))
    budget.start(each)
    with pytest.raises(UserError, match="would exceed"):
        budget.allows(Estimate(9, 0, 0, 0.95))


def test_without_prices_nothing_is_reckoned() -> None:
    assert cost.money(None, 10, 10, False) is None
    rows = cost.lines([("foxes", "attribute", Estimate(3, 30, 40, None), 2)], "(no prices)")
    assert rows[1].split() == ["foxes", "attribute", "2", "3", "30", "40", "–"]
    assert cost.total([Estimate(1, 1, 1, None), Estimate(1, 1, 1, 0.5)]).money == 0.5


def test_the_way_to_ask_is_made_when_something_is_asked(tmp_path: Path) -> None:
    """Who has all answers needs no key."""
    generator = settings(answers=tmp_path, structured="list")
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of("wolf"), answer("a tail_two ears"))
        items = class_items(["attribute"], ["wolf"], Templates(), COUNTS)
        Generator(generator, answers, Budget(0, None, "")).run(items)
    assert items[0].texts == {"texts": ["a tail", "two ears"]}


# ---- what servers say --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m6.5s"}, 66.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "1m"}, None),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "later"}, None),
    ],
)
def test_how_long_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert client.retry_after(headers) == seconds


@pytest.mark.parametrize(
    "said",
    [
        "Incorrect API key provided: sk-abcd***********wxyz.",
        "Incorrect API key provided: my-own-key-123456. Find yours at …",
        "Authorization: Bearer my-own-key-123456",
    ],
)
def test_a_servers_words_are_shown_without_the_key(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "my-own-key-123456")
    shown = client.safe(
        said + "\n\x1b[31m" + "x" * 500, settings(base_url="http://h/v1", key_variable="MY_KEY")
    )
    assert "[key]" in shown
    assert "123456" not in shown
    assert "wxyz" not in shown
    assert "\x1b" not in shown
    assert len(shown) <= 200


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\u2029"])
def test_a_line_separator_in_a_text_ends_no_line_of_a_batch(odd: str) -> None:
    """The answer would be lost and paid for again."""
    row = {"custom_id": "k", "response": {"body": f"a{odd}b"}}
    assert list(batch.rows(json.dumps(row, ensure_ascii=False) + "\n" + "{half")) == [row]


# ---- configuration -----------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
    return tmp_path


def load(texts: Any, generator: Any = None, **more: Any) -> Any:
    document = {"datasets": {"shapes": {"texts": texts, **more}}, "models": ["mini"]}
    Path("c.yaml").write_text(yaml.safe_dump(document | ({"generator": generator} if generator else {})))
    return load_config("c.yaml")


def test_each_kind_has_its_own_source(here: Path) -> None:
    texts = {
        "name": "names",
        "attribute": "llm",
        "analogous": "mine.json",
        "synonym": "wordnet",
        "one_to_one": "llm",
    }
    data = load(texts, {"model": "m"}).datasets["shapes"]
    assert data.text_sources("shapes") == {
        "attribute": "llm", "analogous": Path("mine.json"), "synonym": "wordnet"
    }  # fmt: skip
    assert data.text_files("shapes") == [Path("mine.json")]
    assert data.generated("shapes") == ["attribute", "synonym"]
    assert data.generates_pairs
    assert data.pair_source("shapes") is None
    with_pairs = load({"one_to_one": "pairs.json"}).datasets["shapes"]
    assert with_pairs.pair_source("shapes") == Path("pairs.json")
    assert not with_pairs.generates_pairs
    beside = load({"synonym": "wordnet"}, one_to_one="pairs.json").datasets["shapes"]
    assert beside.pair_source("shapes") == Path("pairs.json")
    only = load({"synonym": "wordnet"}).datasets["shapes"]  # WordNet needs no language model
    assert only.generated("shapes") == ["synonym"]
    assert not only.generates_pairs


def test_a_text_set_and_names_are_what_they_were(here: Path) -> None:
    assert load("mine.json").datasets["shapes"].text_sources("shapes") == dict.fromkeys(
        TEXT_KINDS, Path("mine.json")
    )
    assert load("names").datasets["shapes"].text_sources("shapes") == {}


@pytest.mark.parametrize(
    ("texts", "generator", "says"),
    [
        ({"attribute": "llm"}, None, "needs a section 'generator:'"),
        ({"one_to_one": "llm"}, None, "needs a section 'generator:'"),
        ({"attribute": "lmm"}, {"model": "m"}, "texts.attribute: 'lmm' is no source (did you mean 'llm'?)"),
        ({"attribute": "wordnet"}, {"model": "m"}, "texts.attribute: 'wordnet' is no source"),
        (
            {"attributes": "llm"},
            {"model": "m"},
            "texts.attributes: no kind of text (did you mean 'attribute'?)",
        ),
        ({"attribute": 3}, {"model": "m"}, "texts.attribute"),
        ({"name": "llm"}, {"model": "m"}, "texts.name"),
        ({"attribute": "llm"}, {"modle": "m"}, "did you mean 'model'"),
        ({"attribute": "llm"}, {"model": "m", "max_cost": 1}, "needs generator.prices"),
        ({"attribute": "llm"}, {"model": "m", "prices": {"input": 1, "output": 1}}, "generator.prices.date"),
        ({"attribute": "llm"}, {"model": "m", "base_url": "localhost:8000"}, "generator.base_url"),
        ({"attribute": "llm"}, {"model": "m", "encoder": "mimi"}, "did you mean 'mini'"),
        ({"attribute": "llm"}, {"model": "m", "extra": {"stream": True}}, "generator.extra.stream"),
        ({"attribute": "llm"}, {"model": "m", "max_in_flight": 0}, "generator.max_in_flight"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(here: Path, texts: Any, generator: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        load(texts, generator)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_sources_of_one_to_one_texts_are_one_too_many(here: Path) -> None:
    with pytest.raises(UserError, match="one_to_one is given twice"):
        load({"one_to_one": "llm"}, {"model": "m"}, one_to_one="pairs.json")


@pytest.mark.parametrize(
    "generator",
    [
        {"model": "m", "key_variable": "sk-secret-123"},
        {"model": "m", "api_key": "sk-secret-123"},
        {"model": "m", "extra": {"api_key": "sk-secret-123"}},
        {"model": "m", "base_url": "https://me:sk-secret-123@host/v1"},
        {"model": "m", "base_url": "https://host/v1?key=sk-secret-123"},
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_repeated(here: Path, generator: Any) -> None:
    """It would be committed, and its copy would stand in a log."""
    with pytest.raises(UserError) as caught:
        load({"attribute": "llm"}, generator)
    assert "secret" not in str(caught.value)


def test_the_shown_cost_is_that_of_the_configuration_we_ship(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/texts.md shows what the command prints; without images, key or network."""
    from coder_clip.texts.llm.ahead import ahead

    monkeypatch.chdir(repo)
    config = load_config("config/texts.yaml")
    nothing_yet = config.generator.model_copy(update={"answers": tmp_path})  # type: ignore[union-attr]
    config = config.model_copy(update={"generator": nothing_yet, "results": tmp_path})
    page = (repo / "docs/texts.md").read_text(encoding="utf-8")
    for line in "\n".join(ahead(config, list(config.datasets))).splitlines():
        assert line in page, f"docs/texts.md lacks: {line}"


def test_json_of_the_store_has_the_whole_question(tmp_path: Path) -> None:
    """Whoever doubts a text can ask the same again."""
    with store.opened(tmp_path, "foxes") as answers:
        answers.add(request_of(), answer())
    line = json.loads((tmp_path / "foxes.jsonl").read_text())
    assert line["key"] == request_of().key
    assert line["request"]["template"]["sha256"] == prompts.template("attribute").sha256
    assert line["request"]["messages"][1][1] == request_of().messages[1][1]
    assert line["answer"]["date"] == "2026-11-01"
