import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest
import torch
from PIL import Image, ImageDraw

from dreambooth_api.failures import Interrupted
from dreambooth_api.model_families import FAMILIES
from dreambooth_api.prompts import Words
from dreambooth_api.training import Evaluation, Images, Model, Sampler, Samples, Subject, TrainConfig
from dreambooth_trainer.evaluation.clip import ClipScorer
from dreambooth_trainer.models.base import GeneratedPictures, ModelFamily
from dreambooth_trainer.models.identity import Identity
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import evaluate
from dreambooth_trainer.phases.evaluate import Evaluated, plan
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.run import Run, RunFolder

CONTEXTS = ["on a red background", "on a blue background"]
BACKGROUNDS = {"red": "#d62728", "blue": "#1f4fd6"}


def configuration(**evaluation: object) -> TrainConfig:
    return TrainConfig(
        model=Model(source="embedded://emoji"),
        subject=Subject(class_="dog", images=Images(path="photos")),
        evaluation=Evaluation(contexts=CONTEXTS, other_classes=["cat", "car"], per_prompt=2).model_copy(
            update=evaluation
        ),
    )


class FakeFamily:
    """Generates a square with the colour and background of the prompt, at a place that depends on the seed."""

    resolution = 64
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.generated: list[tuple[str, int]] = []
        self.batches: list[int] = []

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, size: int) -> GeneratedPictures:
        self.generated += zip(prompts, seeds, strict=True)
        self.batches.append(len(prompts))
        images = [self._square(prompt, seed, size) for prompt, seed in zip(prompts, seeds, strict=True)]
        return GeneratedPictures(images, torch.zeros(len(images), 4, 8, 8))

    @contextmanager
    def denoising(self, prompts: Collection[str]) -> Iterator[None]:
        yield

    def _square(self, prompt: str, seed: int, size: int) -> Image.Image:
        background = next((colour for name, colour in BACKGROUNDS.items() if f"{name} background" in prompt), "white")
        colour = "#" + hashlib.sha256(" ".join(prompt.split()[:3]).encode()).hexdigest()[:6]
        image = Image.new("RGB", (size, size), background)
        left, top = seed % 24, seed // 24 % 24
        ImageDraw.Draw(image).rectangle((left, top, left + 36, top + 36), fill=colour)
        return image


@pytest.fixture(scope="module")
def encoder() -> ClipScorer:
    return ClipScorer.load("embedded://emoji", torch.device("cpu"))


@pytest.fixture
def run(tmp_path: Path, encoder: ClipScorer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with three photos whose encoder is loaded once for all tests."""
    monkeypatch.setattr(ClipScorer, "load", lambda source, device: encoder)
    folder = RunFolder(tmp_path / "run")
    folder.photos.mkdir(parents=True)
    for number in range(3):
        FakeFamily()._square("a dkv dog", number, 64).save(folder.photos / f"{number}.png")
    return started(configuration(), folder, tmp_path / "cache")


def started(config: TrainConfig, folder: RunFolder, cache: Path) -> Run:
    run = Run(config, folder, cache, Distributed(), Progress(), identifiers=["dkv"])
    family = cast(ModelFamily, FakeFamily())
    run.base = Identity("fake", None, FAMILIES["StableDiffusionPipeline"])
    # Each load returns the same scorer.
    run._load = lambda *, exact: family  # type: ignore[method-assign]
    return run


def evaluated(run: Run, tuned: FakeFamily | None = None) -> Evaluated:
    return evaluate.evaluate(run, lambda: cast(ModelFamily, tuned or FakeFamily()))


def base(run: Run) -> FakeFamily:
    return cast(FakeFamily, run.model)


def test_plan_generates_each_prompt_as_often_as_its_figure_needs() -> None:
    counts = Counter((one.model, one.prompt) for one in plan(configuration(), [Words("dkv", "dog")]) for _ in one.seeds)
    assert counts == {
        ("tuned", "a dkv dog"): 4,
        ("tuned", "a dkv dog on a red background"): 2,
        ("tuned", "a dkv dog on a blue background"): 2,
        ("base", "a dog"): 8,
        ("tuned", "a dog"): 8,
        ("base", "a cat"): 4,
        ("tuned", "a cat"): 2,
        ("base", "a car"): 4,
        ("tuned", "a car"): 2,
    }


def test_plan_compares_with_the_same_seeds_and_keep_with_different_ones() -> None:
    seeds = {one.key: one.seeds for one in plan(configuration(), [Words("dkv", "dog")])}
    assert seeds["class", "base"] == seeds["class", "tuned"]
    assert seeds["other/0/b", "base"] == seeds["other/0/b", "tuned"]
    assert not set(seeds["other/0/a", "base"]) & set(seeds["other/0/b", "base"])
    assert all(len(set(values)) == len(values) and max(values) < 2**31 for values in seeds.values())


def test_plan_of_the_base_model_does_not_depend_on_the_subject() -> None:
    def of_base(config: TrainConfig, identifier: str) -> list[evaluate.PictureSet]:
        return [one for one in plan(config, [Words(identifier, "dog")]) if one.model == "base"]

    assert of_base(configuration(), "dkv") == of_base(configuration(contexts=["at night", "in the snow"]), "xqz")


def test_plan_keeps_the_seeds_of_a_class_when_others_are_added() -> None:
    seeds = {one.prompt: one.seeds for one in plan(configuration(), [Words("dkv", "dog")])}
    more = {one.prompt: one.seeds for one in plan(configuration(other_classes=["tree", "car"]), [Words("dkv", "dog")])}
    assert more["a car"] == seeds["a car"]


def test_an_unchanged_model_keeps_everything(run: Run) -> None:
    figures = evaluated(run).figures[0]
    assert figures.pres_change == 0
    assert figures.div_class_ratio == 1
    assert figures.keep == pytest.approx(1)
    assert figures.follow == 1
    assert figures.subj > figures.pres_after


def test_pictures_of_the_comparison(run: Run) -> None:
    comparisons = evaluated(run).comparisons
    assert [comparison.prompt for comparison in comparisons] == ["a dog", "a cat", "a car"]
    assert [len(comparison.before) for comparison in comparisons] == [4, 2, 2]
    paths = [run.folder.root / path for one in comparisons for path in [*one.before, *one.after]]
    assert all(Image.open(path).size == (64, 64) for path in paths)
    for one in comparisons:
        pairs = zip(one.before, one.after, strict=True)
        assert all((run.folder.root / a).read_bytes() == (run.folder.root / b).read_bytes() for a, b in pairs)
    assert Image.open(run.folder.root / "evaluation" / "sheet.png").width > 640


def test_result_survives_json(run: Run) -> None:
    result = evaluated(run)
    assert Evaluated.model_validate_json(result.model_dump_json()) == result


def test_a_record_of_version_0_1_0_is_read(run: Run) -> None:
    found = evaluated(run)
    (figures,) = found.model_dump(mode="json")["figures"]
    assert Evaluated.model_validate({**found.model_dump(mode="json"), "figures": figures}) == found


def test_the_next_run_does_not_generate_the_pictures_of_the_base_model_again(run: Run, tmp_path: Path) -> None:
    first = evaluated(run)
    assert len(base(run).generated) == 16
    again = started(run.config, run.folder, run.cache)
    assert evaluated(again) == first
    assert base(again).generated == []
    phase = next(one for one in again.progress.snapshot().phases if one.name == "evaluate")
    assert (phase.done, phase.total) == (36, 36)


def test_another_sampler_generates_again(run: Run) -> None:
    evaluated(run)
    config = run.config.model_copy(update={"samples": Samples(steps=7)})
    other = started(config, run.folder, run.cache)
    evaluated(other)
    assert len(base(other).generated) == 16


def test_one_more_class_generates_only_that_class(run: Run) -> None:
    evaluated(run)
    more = started(configuration(other_classes=["cat", "tree", "car"]), run.folder, run.cache)
    evaluated(more)
    assert {prompt for prompt, _ in base(more).generated} == {"a tree"}


def test_batches_span_prompts_and_are_bounded(run: Run) -> None:
    tuned = FakeFamily()
    evaluated(run, tuned)
    assert tuned.batches == [16, 4]


def test_a_stop_keeps_the_pictures_of_the_base_model(run: Run) -> None:
    class StopsAtOnce(FakeFamily):
        def generate(
            self, prompts: Sequence[str], seeds: Sequence[int], sampler: Sampler, size: int
        ) -> GeneratedPictures:
            run.stop.request()
            return super().generate(prompts, seeds, sampler, size)

    tuned = StopsAtOnce()
    with pytest.raises(Interrupted):
        evaluated(run, tuned)
    assert len(tuned.batches) == 1
    again = started(run.config, run.folder, run.cache)
    evaluated(again)
    assert base(again).generated == []
