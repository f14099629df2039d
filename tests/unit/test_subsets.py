"""Subsets: the same samples everywhere, under a name of their own; and the suites that take them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from h3eval import config, registry
from h3eval.datasets import DataSource
from h3eval.errors import ConfigError, UnknownPlugin
from h3eval.plan import Plan, from_manifest
from h3eval.stats.composite import Part, preset
from h3eval.subsets import cut_short, longer, marked, parted, shortened, subset
from h3eval.types import Reply, Request, Sample, Source, Task

HUNDRED = tuple(Sample(f"row-{k}") for k in range(100))
TABLE_3 = (
    "math", "gsm8k", "arc_easy", "arc_challenge", "mmlu", "mbpp_plus", "humaneval_plus", "mt_bench",
    "halueval_wild", "saladbench", "or_bench",
)  # fmt: skip


def of(samples: tuple[Sample, ...]) -> Task:
    return Task("counting", 1, "helpful", "whole", lambda source: samples, (), "")


def ids(task: Task) -> list[str]:
    source: Source = DataSource()
    return [sample.id for sample in task.samples(source)]


@pytest.mark.parametrize(
    ("size", "seed", "drawn"),
    [
        (5, 7, ["row-34", "row-39", "row-43", "row-44", "row-73"]),
        (5, 8, ["row-3", "row-13", "row-20", "row-39", "row-57"]),
    ],
)
def test_a_seed_draws_these_samples_on_every_machine(size: int, seed: int, drawn: list[str]) -> None:
    assert ids(subset(of(HUNDRED), size, seed)) == drawn


def test_neither_order_nor_size_change_what_is_drawn() -> None:
    few, more = (ids(subset(of(HUNDRED), size, 3)) for size in (10, 40))
    assert set(few) < set(more)
    assert sorted(ids(subset(of(HUNDRED[::-1]), 10, 3))) == sorted(few)
    assert few == sorted(few, key=lambda name: int(name[4:])), "they stand in the task's own order"
    assert ids(subset(of(HUNDRED[:8]), 10, 3)) == ids(of(HUNDRED[:8]))


def test_the_draw_is_even() -> None:
    """Each of 100 samples in a tenth of 2,000 draws: 200 times, give or take six standard deviations (13.4)."""
    counts = dict.fromkeys(ids(of(HUNDRED)), 0)
    for seed in range(2000):
        for name in ids(subset(of(HUNDRED), 10, seed)):
            counts[name] += 1
    assert all(120 < count < 280 for count in counts.values())


def test_names_are_read_back() -> None:
    assert parted(marked("gsm8k/lm-eval", 20, 0)) == ("gsm8k/lm-eval", 20, 0)
    wholes = ("gsm8k", "gsm8k-subset0-seed1", "gsm8k-subset5", "gsm8k-subset05-seed1", "-subset5-seed1")
    assert [parted(name) for name in wholes] == [None] * 5


def test_the_registry_knows_subsets_of_what_it_knows() -> None:
    short = registry.task("gsm8k-subset3-seed7")
    assert short.id == "gsm8k/lm-eval-subset3-seed7"
    assert registry.task(short.id).id == short.id
    assert short.notes[0].startswith("A subset: 3 samples")
    demo = DataSource(demo=True)
    whole = [sample.id for sample in registry.task("gsm8k").samples(demo)]
    drawn = [sample.id for sample in short.samples(demo)]
    assert len(drawn) == 3
    assert drawn == [name for name in whole if name in drawn]
    with pytest.raises(UnknownPlugin, match="protocol of gsm8k"):
        registry.task("gsm8k/none-subset3-seed7")


def test_a_stored_run_finds_its_subset_again() -> None:
    task = registry.task("xstest-subset3-seed7")
    manifest = Plan((task,), "m", {}, {}).manifest()
    assert manifest["tasks"] == [{"task": "xstest", "protocol": "v2-subset3-seed7", "version": task.version}]
    (again,) = from_manifest(manifest).tasks
    demo = DataSource(demo=True)
    assert list(again.samples(demo)) == list(task.samples(demo))
    assert again.id != replace(task, protocol="v2").id


def written(folder: Path, text: str) -> str:
    file = folder / "suite.toml"
    file.write_text(text)
    return str(file)


def test_a_suite_limits_all_its_tasks_or_one(tmp_path: Path) -> None:
    text = (
        'limit = 9\nsample_seed = 4\ntasks = ["gsm8k", { task = "mmlu/5-shot", limit = 57 }]\ncomposites = ["3h-lite"]'
    )
    assert config.suite(written(tmp_path, text)).tasks == ("gsm8k-subset9-seed4", "mmlu/5-shot-subset57-seed4")
    one = 'sample_seed = 0\ntasks = ["gsm8k", { task = "mmlu", limit = 57 }, "xstest-subset5-seed1"]'
    assert config.suite(written(tmp_path, one)).tasks == ("gsm8k", "mmlu-subset57-seed0", "xstest-subset5-seed1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('limit = 9\ntasks = ["a"]', "needs a sample_seed"),
        ('limit = 0\nsample_seed = 1\ntasks = ["a"]', "a limit is 1 or more"),
        ('limit = 9\nsample_seed = -1\ntasks = ["a"]', "sample_seed of 0 or more"),
        ('limit = true\nsample_seed = 1\ntasks = ["a"]', "expected a int"),
        ('limit = 0.5\nsample_seed = 1\ntasks = ["a"]', "expected a int"),
        ("tasks = [3]", "expected a str"),
        ("tasks = [{ limit = 3 }]", 'expected "NAME"'),
        ('tasks = [{ task = "a", n = 3 }]', "unknown key 'n'"),
        ('limit = 9\nsample_seed = 1\ntasks = ["a-subset3-seed1"]', "a subset already"),
        ('tasks = ["a"]\ncomposites = ["4h"]', "no '4h' (known: 3h"),
        ('tasks = ["a"]\ncomposites = ["3h-lite"]', "is of subsets"),
        ('limit = 9\nsample_seed = 1\ntasks = ["a"]\ncomposites = ["3h"]', "fitting: 3h-lite, over_refusal-lite"),
        ('limit = 9\nsample_seed = 1\ntasks = ["a"]\ncomposites = ["seed001"]', "is of whole tasks"),
    ],
)
def test_what_a_suite_may_not_say(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"suite\.toml") as caught:
        config.suite(written(tmp_path, text))
    assert message in str(caught.value)


def named_parts(name: str) -> Iterator[tuple[str, Part]]:
    for each in config.suite(name).composites:
        table = config.composites()[each]
        if not isinstance(table["groups"], str):
            yield from ((each, part) for parts in preset(each, table, {}).groups.values() for part in parts)


@pytest.mark.parametrize("name", config.suites())
def test_every_shipped_suite_has_what_its_composites_are_made_of(name: str) -> None:
    """`3h` names the papers' averages as well, on other protocols than its own: there they are missing."""
    suite = config.suite(name)
    tasks = [registry.task(each) for each in suite.tasks]
    assert len({task.id for task in tasks}) == len(tasks)
    assert suite.composites
    papers = {"seed001", "seed002"} if name == "3h" else set()
    for composite, part in named_parts(name):
        if composite in papers:
            continue
        fitting = [task for task in tasks if task.name == part.task and part.protocol in ("", task.protocol)]
        assert any(part.metric == metric.name for task in fitting[:1] for metric in task.metrics), (composite, part)


def test_the_merging_suite_has_the_papers_eleven_columns() -> None:
    suite = config.suite("3h-merging")
    assert tuple(registry.task(name).name for name in suite.tasks) == TABLE_3
    assert [part.task for _, part in named_parts("3h-merging")] == list(TABLE_3)
    assert suite.composites == ("seed001",)


def test_every_task_of_the_lite_suite_is_a_subset_by_one_seed() -> None:
    found = [parted(name) for name in config.suite("3h-lite").tasks]
    assert {each[2] for each in found if each} == {2026}
    assert all(found)
    dimensions = [registry.task(name) for name in config.suite("3h-lite").tasks]
    assert {task.axis or task.dimension for task in dimensions} == {"helpful", "honest", "harmless", "over_refusal"}


def test_answers_cut_short_are_a_protocol_of_their_own() -> None:
    whole = registry.task("mt_bench")
    short = registry.task("mt_bench/single-short48")
    assert short.id == "mt_bench/single-short48"
    assert short.id == shortened(whole, 48).id
    sample = next(iter(whole.samples(DataSource(demo=True))))
    for replies in ((), (Reply("First."),)):
        for ours, theirs in zip(short.ask(sample, replies), whole.ask(sample, replies), strict=True):
            assert ours == replace(theirs, max_tokens=48)
    assert "not comparable" in short.notes[0]
    assert longer(whole, sample, 48)
    assert not longer(short, sample, 48)
    assert not longer(whole, None, 48)


def test_what_is_short_already_and_what_writes_nothing_stay_as_they_are() -> None:
    requests = [Request("complete", "x", max_tokens=16), Request("loglikelihood", "x", "y")]
    task = replace(of(HUNDRED), ask=lambda sample, replies: requests)
    assert shortened(task, 48).ask(HUNDRED[0], ()) == requests
    assert not longer(task, HUNDRED[0], 48)


def test_a_subset_may_be_cut_short_too_and_is_found_again() -> None:
    name = "gsm8k/lm-eval-subset3-seed7-short48"
    task = registry.task(name)
    assert task.id == name
    assert cut_short(task.protocol) == ("lm-eval-subset3-seed7", 48)
    plan = Plan((task,), "m", {}, {})
    assert from_manifest(plan.manifest()).tasks[0].id == name
    assert cut_short("gsm8k-short0") is None
    assert cut_short("gsm8k") is None
