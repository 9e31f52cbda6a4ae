"""Prompts, stored answers, costs, and the configuration of a language model; the server:
tests/integration.
"""

from __future__ import annotations

import json
import logging
import re
import resource
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.pipeline.config import GeneratorConfig, load_config
from coder_clip.texts.kinds import OF_CLASS
from coder_clip.texts.llm import budget, prompts, server
from coder_clip.texts.llm.budget import Budget, CostEstimate
from coder_clip.texts.llm.generate import groups
from coder_clip.texts.llm.prompts import Request, digest
from coder_clip.texts.llm.requests import class_items, pair_items
from coder_clip.texts.llm.store import Answer, Answers

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
    return Answer(
        **{"text": text, **given, "cost": 0.5, "currency": "USD", "date": "2026-11-01", **more}
    )


def request_of(name: str = "red fox", kind: str = "attribute", **more: Any) -> Request:
    generator = settings(**more)
    (items,) = groups(class_items([kind], [name], Templates(), COUNTS), generator)
    return prompts.request(items, generator)


def item_key(request: Request) -> str:
    (key,) = request.item_keys
    return key


# ---- prompts ---


@pytest.mark.parametrize("kind", ["attribute", "analogous", "synonym", "one_to_one"])
def test_a_question_says_all_that_is_needed(kind: str) -> None:
    """A gap left in a prompt would be answered, and paid for, a thousand times."""
    templates = Templates(name="a photo of a {class}, a type of pet.")
    if kind == "one_to_one":
        (item,) = pair_items([(0, 1)], ["red_fox", "arctic fox"], templates, 3)
    else:
        (item,) = class_items([kind], ["red_fox"], templates, COUNTS)
    item.refuse("a {class} of braces", "says nothing", "")
    item.wrong = "it was empty"
    (_, system), (_, question) = prompts.messages([item])
    left = question.replace("a {class} of braces", "")
    assert not re.search(r"\{\w+\}", system + left)
    assert "red fox" in question
    assert "a photo of a red fox, a type of pet." in question
    assert "a {class} of braces" in question, "a text of a model is not a template"
    assert "The last answer could not be used: it was empty." in question
    assert "JSON" in question
    if kind == "one_to_one":
        assert "arctic fox" in question
    if kind == "analogous":
        assert "told apart: red fox." in system


def test_a_class_name_is_not_a_template() -> None:
    (item,) = class_items(["attribute"], ["{count} {photo}"], Templates(), COUNTS)
    assert "{count} {photo}" in prompts.messages([item])[1][1]


def test_an_edited_prompt_has_another_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of an old prompt under the new one's name."""
    text = (prompts.FOLDER / "synonym.txt").read_text()
    (tmp_path / "synonym.txt").write_text(text.replace("everyday", "plain"))
    before = prompts.template("synonym")
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    prompts.template.cache_clear()
    after = prompts.template("synonym")
    prompts.template.cache_clear()
    assert before.note["version"] == after.note["version"]
    assert before.note["sha256"] != after.note["sha256"]


def test_half_a_prompt_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "synonym.txt").write_text("version: 1\n\n[system]\nx\n[user]\ny\n")
    monkeypatch.setattr(prompts, "FOLDER", tmp_path)
    prompts.template.cache_clear()
    with pytest.raises(UserError, match=r"synonym\.txt: needs 'version"):
        prompts.template("synonym")
    prompts.template.cache_clear()


def test_a_project_has_prompts_of_its_own(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks in another language, or about X-rays, edited files inside the installed package."""
    monkeypatch.chdir(tmp_path)
    answer = command("texts", "prompts", "prompts")
    assert answer.code == 0, answer.err
    assert "generator: {prompts: prompts}" in answer.out
    folder = Path("prompts")
    for path in prompts.FOLDER.glob("*.txt"):
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert "exists; name another folder" in command("texts", "prompts", "prompts").err
    mine = (folder / "synonym.txt").read_text().replace("everyday English", "everyday German")
    (folder / "synonym.txt").write_text(mine)
    (folder / "attribute.txt").unlink()
    for kind, differs in (("synonym", True), ("attribute", False)):
        theirs, ours = request_of(kind=kind), request_of(kind=kind, prompts="prompts")
        assert ("German" in ours.messages[1][1]) == differs
        # another prompt is another question; the same one is not paid for twice
        assert (theirs.item_keys != ours.item_keys) == differs
    with pytest.raises(UserError, match=r"generator\.prompts: no folder nowhere"):
        request_of(prompts="nowhere")


# ---- stored answers ---


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    odd = answer(
        '{"texts": ["長い尾", "\\u0000", "line\u2028break", "emoji 🦊"]}',
        cost=None,
        prompt_tokens=None,
    )
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of(), odd)
        assert answers.found[item_key(request_of())].answer == odd
    assert Answers(tmp_path, "foxes").found[item_key(request_of())].answer == odd
    assert (tmp_path / "foxes.jsonl").read_bytes().count(b"\n") == 1


def test_what_another_data_set_asked_is_not_asked_again(tmp_path: Path) -> None:
    """ImageNet-V2 has ImageNet's classes."""
    answers = Answers(tmp_path, "imagenet")
    with answers.open():
        answers.add(request_of(), answer())
    answers = Answers(tmp_path, "imagenet_v2")
    with answers.open():
        assert answers.found[item_key(request_of())].answer == answer()
    assert Answers(tmp_path, "x").spent == {"USD": 0.5}


@pytest.mark.parametrize(
    "left", [b'{"key": "ab', b"\xff\xfe\x00", b"null", b"{}", b'{"key": 3, "request": []}']
)
def test_a_line_that_was_cut_short_costs_that_line(
    tmp_path: Path, left: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of("a"), answer("first"))
    with (tmp_path / "foxes.jsonl").open("ab") as stream:
        stream.write(left)
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of("b"), answer("second"))
    found = Answers(tmp_path, "foxes")
    assert [s.answer.text for s in found.kept.values()] == ["first", "second"]
    assert "1 lines are skipped" in caplog.text


def test_an_answer_under_the_wrong_question_does_not_count(tmp_path: Path) -> None:
    """After an edit by hand it is not that model's answer any more."""
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of("red fox"), answer())
    path = tmp_path / "foxes.jsonl"
    path.write_text(path.read_text().replace("red fox", "grey fox"))
    found = Answers(tmp_path, "foxes")
    assert not found.found


def test_an_answer_that_somebody_edited_is_not_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It would be a person's text under the model's name."""
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of(), answer("a long tail"))
    path = tmp_path / "foxes.jsonl"
    path.write_text(path.read_text().replace("a long tail", "a short tail"))
    assert not Answers(tmp_path, "foxes").found
    assert "1 lines are skipped: not the model's whole answers" in caplog.text


def test_of_two_merged_answers_the_first_counts(tmp_path: Path) -> None:
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of(), answer("first"))
    path = tmp_path / "foxes.jsonl"
    with answers.open():
        path.write_text("")
        answers.kept.clear()
        answers.add(request_of(), answer("first"))
        answers.kept.clear()
        answers.add(request_of(), answer("later"))
    found = Answers(tmp_path, "foxes")
    assert found.found[item_key(request_of())].answer == answer("first")
    assert found.spent == {"USD": 0.5}


def test_a_second_run_waits_says_so_and_gets_the_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise both pay for the same questions."""
    caplog.set_level(logging.INFO, "coder_clip")
    first, second = Answers(tmp_path, "foxes"), Answers(tmp_path, "foxes")

    def ask() -> None:
        with second.open():
            pass

    other, end = threading.Thread(target=ask), time.monotonic() + 20
    with first.open():
        other.start()
        while "another run asks for answers" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)
        first.add(request_of(), answer())
    other.join(20)
    assert "another run asks for answers" in caplog.text
    assert second.found[item_key(request_of())].answer == answer()


def test_half_a_line_does_not_swallow_the_next_answer(tmp_path: Path) -> None:
    """A disk that is full in the middle of a line: the answer after it would be lost, and paid for
    again.
    """
    answers = Answers(tmp_path, "foxes")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with answers.open():
        answers.add(request_of("a"), answer("first"))
        size = (tmp_path / "foxes.jsonl").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, before[1]))
        try:
            with pytest.raises(UserError, match=r"cannot write .*foxes\.jsonl: File too large"):
                answers.add(request_of("b"), answer("second"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert (tmp_path / "foxes.jsonl").stat().st_size == size
        (tmp_path / "foxes.jsonl").open("ab").write(b'{"half": ')  # as another program leaves it
        answers.add(request_of("c"), answer("third"))
    assert [s.answer.text for s in Answers(tmp_path, "foxes").kept.values()] == ["first", "third"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(UserError, match="cannot write in"),
        Answers(tmp_path / "file", "foxes").open(),
    ):
        pass


# ---- money ---


@pytest.mark.parametrize("cost", [-5.0, float("inf"), float("nan"), "much", None])
@pytest.mark.parametrize("where", ["answer", "lost"])
def test_a_cost_that_cannot_be_does_not_raise_the_limit(
    tmp_path: Path, where: str, cost: Any
) -> None:
    """A line from somebody else with a cost below zero would pay for the next thousand questions."""
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of(), answer(cost=0.5))
    path = tmp_path / "foxes.jsonl"
    line = json.loads(path.read_text())
    line["answer"]["cost"] = line["answer"]["at_most"] = cost
    more = {
        "answer": {**line, "key": "another", "sha256": digest(line["answer"])},
        "lost": {"lost": {"at_most": cost, "currency": "USD"}},
    }
    with path.open("a") as stream:
        stream.write(json.dumps(more[where]) + "\n")
    assert Answers(tmp_path, "foxes").spent == {"USD": 0.5}


def test_money_of_tries_without_an_answer_counts_from_earlier_versions(tmp_path: Path) -> None:
    lost = {"lost": {"at_most": 1.0, "currency": "USD"}}
    no_money = {"lost": {"at_most": 1.0, "currency": None}}
    (tmp_path / "foxes.jsonl").write_text(f"{json.dumps(lost)}\n{json.dumps(no_money)}\n")
    assert Answers(tmp_path, "foxes").spent == {"USD": 1.0}


def priced(limit: float) -> GeneratorConfig:
    return settings(prices={"date": "2026-11-01", "input": 1, "output": 2}, max_cost=limit)


def test_a_budget_checks_what_is_ahead_and_the_next_request(tmp_path: Path) -> None:
    """3 USD and 3 EUR are not 6 of anything."""
    answers = Answers(tmp_path, "foxes")
    most = budget.estimate([request_of()], priced(2.0)).at_most
    answers.spent = {"USD": 2.0 - most}
    ours = Budget(priced(2.0), answers)
    ours.check_next(request_of())
    with pytest.raises(UserError, match="would exceed"):
        ours.check(CostEstimate(9, 0, 0, 0.65))
    answers.spent = {"USD": 2.0 - most / 2}
    with pytest.raises(UserError, match=r"could exceed generator\.max_cost 2\.00 USD"):
        ours.check_next(request_of())
    answers.spent = {"EUR": 3.0, "USD": 1.0}
    assert Budget(settings(), answers).spent == 0
    with pytest.raises(UserError, match=r"max_cost is in USD, but stored answers cost EUR"):
        Budget(priced(2.0), answers)


def test_without_prices_no_cost_is_computed() -> None:
    assert budget.money(None, 10, 10) == 0
    assert budget.total([CostEstimate(1, 1, 1), CostEstimate(1, 1, 1, 0.5)]) == CostEstimate(
        2, 2, 2, 0.5
    )
    assert budget.estimate([request_of()], settings()).money == 0


# ---- what servers say
# --------------------------------------------------------------------------------


def test_a_servers_words_are_shown_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "my-own-key-123456")
    said = "Incorrect API key provided: my-own-key-123456. Find yours at …\n\x1b[31m"
    generator = settings(base_url="http://h/v1", key_variable="MY_KEY")
    shown = server.said(said + "x" * 500, generator)
    assert "[key]" in shown
    assert "123456" not in shown
    assert "\x1b" not in shown
    assert len(shown) <= 200


# ---- configuration ---


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
    return tmp_path


def load(texts: Any, generator: Any = None, **more: Any) -> Any:
    document = {"datasets": {"shapes": {"texts": texts, **more}}, "models": ["mini"]}
    Path("c.yaml").write_text(
        yaml.safe_dump(document | ({"generator": generator} if generator else {}))
    )
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
    assert data.generated("shapes") == {"attribute": "llm", "synonym": "wordnet"}
    assert data.pair_text_source == "llm"
    assert data.pair_source("shapes") is None
    with_pairs = load({"one_to_one": "pairs.json"}).datasets["shapes"]
    assert with_pairs.pair_source("shapes") == Path("pairs.json")
    assert not with_pairs.pair_text_source
    beside = load({"synonym": "wordnet"}, one_to_one="pairs.json").datasets["shapes"]
    assert beside.pair_source("shapes") == Path("pairs.json")
    only = load({"synonym": "wordnet"}).datasets["shapes"]  # WordNet needs no language model
    assert only.generated("shapes") == {"synonym": "wordnet"}
    assert not only.pair_text_source


def test_a_text_set_and_names_are_what_they_were(here: Path) -> None:
    assert load("mine.json").datasets["shapes"].text_sources("shapes") == dict.fromkeys(
        OF_CLASS, Path("mine.json")
    )
    assert load("names").datasets["shapes"].text_sources("shapes") == {}


@pytest.mark.parametrize(
    ("texts", "generator", "says"),
    [
        ({"attribute": "llm"}, None, "needs a section 'generator:'"),
        ({"one_to_one": "llm"}, None, "needs a section 'generator:'"),
        (
            {"attribute": "lmm"},
            {"model": "m"},
            "texts.attribute: unknown source 'lmm' (did you mean 'llm'?)",
        ),
        ({"attribute": "wordnet"}, {"model": "m"}, "texts.attribute: unknown source 'wordnet'"),
        (
            {"attributes": "llm"},
            {"model": "m"},
            "texts.attributes: unknown kind of text (did you mean 'attribute'?)",
        ),
        ({"attribute": 3}, {"model": "m"}, "texts.attribute"),
        ({"name": "llm"}, {"model": "m"}, "texts.name"),
        ({"attribute": "llm"}, {"modle": "m"}, "did you mean 'model'"),
        ({"attribute": "llm"}, {"model": "m", "max_cost": 1}, "needs generator.prices"),
        (
            {"attribute": "llm"},
            {"model": "m", "prices": {"input": 1, "output": 1}},
            "generator.prices.date",
        ),
        ({"attribute": "llm"}, {"model": "m", "base_url": "localhost:8000"}, "generator.base_url"),
        ({"attribute": "llm"}, {"model": "m", "encoder": "mimi"}, "did you mean 'mini'"),
        ({"attribute": "llm"}, {"model": "m", "extra": {"stream": True}}, "generator.extra.stream"),
        ({"attribute": "llm"}, {"model": "m", "max_in_flight": 0}, "generator.max_in_flight"),
        (
            {"attribute": "llm"},
            {
                "model": "m",
                "max_tokens": None,
                "max_cost": 1,
                "prices": {"date": "2026-11-01", "input": 1, "output": 1},
            },
            "needs generator.max_tokens",
        ),
        (
            {"attribute": "llm"},
            {"model": "m", "extra": {"max_completion_tokens": 5}},
            "extra.max_completion_tokens are both given",
        ),
        ({"attribute": "llm"}, {"model": "m", "headers": {"X Y": "1"}}, "generator.headers"),
        ({"attribute": "llm"}, {"model": "m", "on_failure": "list"}, "generator.on_failure"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    here: Path, texts: Any, generator: Any, says: str
) -> None:
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
        {"model": "m", "extra": {"provider": {"options": [{"apiKey": "sk-secret-123"}]}}},
        {"model": "m", "extra": {"user": "sk-secret-123"}},
        {"model": "m", "extra": {"provider": {"token": "hf_secret123"}}},
        {"model": "m", "extra": {"provider": {"token": "of-my-own-secret"}}},
        {"model": "m", "extra": {"order": ["gsk_secret123"]}},
        {"model": "m", "extra": {"order": ["xai-secret123"]}},
        {"model": "m", "extra": {"user": "Secret4secret5SECRET6secret7"}},
        {"model": "m", "headers": {"Authorization": "sk-secret-123"}},
        {"model": "m", "headers": {"X-Api-Key": "secret"}},
        {"model": "m", "headers": {"X-Team": "Bearer secret"}},
        {"model": "m", "base_url": "https://me:sk-secret-123@host/v1"},
        {"model": "m", "base_url": "https://host/v1?key=sk-secret-123"},
    ],
)
def test_a_key_in_the_configuration_is_refused_and_not_repeated(here: Path, generator: Any) -> None:
    """It would be committed and copied to logs."""
    with pytest.raises(UserError) as caught:
        load({"attribute": "llm"}, generator)
    assert "secret" not in str(caught.value)


@pytest.mark.rest
def test_the_shown_cost_is_that_of_the_configuration_we_ship(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docs/texts_answers.md shows what the command prints; without images, key or network."""
    from coder_clip.preflight.questions import asked
    from coder_clip.texts.llm.estimate import lines

    monkeypatch.chdir(repo)
    config = load_config("config/texts.yaml")
    nothing_yet = config.generator.model_copy(update={"answers": tmp_path})  # type: ignore[union-attr]
    config = config.model_copy(update={"generator": nothing_yet, "results": tmp_path})
    page = (repo / "docs/texts_answers.md").read_text(encoding="utf-8")
    for line in "\n".join(
        lines(config.generator, asked(config, config.datasets), several=True)
    ).splitlines():
        assert line in page, f"docs/texts_answers.md lacks: {line}"


def test_the_encoder_is_named_where_there_are_several_models(here: Path) -> None:
    """Were it the first one, leaving that out would change the numbers of all others."""
    models = {
        "a": {"model": "ViT-B-32", "pretrained": "openai"},
        "b": {"model": "RN50", "pretrained": "openai"},
    }
    document = {
        "datasets": {"shapes": {"texts": {"analogous": "llm"}}},
        "models": models,
        "generator": {"model": "m"},
    }
    Path("c.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(UserError, match=r"generator\.encoder: name the model"):
        load_config("c.yaml")
    document["generator"] = {"model": "m", "encoder": "b"}
    Path("c.yaml").write_text(yaml.safe_dump(document))
    assert load_config("c.yaml").text_encoder() == "b"


def test_json_of_the_store_has_the_whole_question(tmp_path: Path) -> None:
    """A person who doubts a text can ask the same question again."""
    answers = Answers(tmp_path, "foxes")
    with answers.open():
        answers.add(request_of(), answer())
    line = json.loads((tmp_path / "foxes.jsonl").read_text())
    assert line["key"] == request_of().key
    (item,) = line["request"]["items"]
    assert item["template"] == prompts.template("attribute").note["sha256"]
    assert line["request"]["messages"][1][1] == request_of().messages[1][1]
    assert line["answer"]["date"] == "2026-11-01"
