import multiprocessing
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageChops
from torch import Tensor

from dreambooth_api.failures import Interrupted
from dreambooth_api.training import Sampler, TrainConfig
from dreambooth_trainer.data.class_images import ClassImages
from dreambooth_trainer.data.quality import cut
from dreambooth_trainer.models.base import GeneratedPictures, ModelFamily, Tensors
from dreambooth_trainer.models.latent import LatentDiffusion
from dreambooth_trainer.models.stable_diffusion.model import StableDiffusion
from dreambooth_trainer.monitoring.progress import Progress
from dreambooth_trainer.phases import cache, prior
from dreambooth_trainer.phases.prior import GeneratedClassImages
from dreambooth_trainer.process.distributed import Distributed
from dreambooth_trainer.process.storage import manifest_of, sha256_of
from dreambooth_trainer.run import Run, RunFolder
from dreambooth_trainer.training.batch import Noised
from tests.patience import PATIENCE
from tests.trainer.data.scenes import scene
from tests.trainer.tiny_models import Layout
from tests.trainer.tiny_training import prepared_photos


def started(source: Path, root: Path, distributed: Distributed | None = None, /, **settings: Any) -> Run:
    config = TrainConfig.model_validate(
        {
            "model": {"source": str(source)},
            "subject": {"class": "dog", "images": {"path": "photos"}},
            "prior": {"images": 6, "batchSize": 4, "sampler": {"steps": 2}, "unconditionalShare": 0, **settings},
            "training": {"mixedPrecision": "fp32"},
        }
    )
    return Run(
        config, RunFolder(root / "run"), root / "cache", distributed or Distributed(), Progress(), identifiers=["sks"]
    )


def folder_of(generated: GeneratedClassImages) -> Path:
    (one,) = generated.sets
    return Path(one.folder)


@pytest.fixture
def source(tiny_folders: dict[Layout, Path]) -> Path:
    return tiny_folders["1.x"]


def test_images_are_generated_from_their_seeds(
    source: Path, tmp_path: Path, tiny_models: dict[Layout, StableDiffusion]
) -> None:
    generated = prior.generate_class_images(started(source, tmp_path))
    assert generated.generated == generated.sets[0].count == 6
    images, model = ClassImages(folder_of(generated)), tiny_models["1.x"]
    latents = images.latents(range(6))
    expected = model.generate(["a dog"] * 6, range(6), Sampler(steps=2), 64).latents_BCHW
    assert torch.allclose(latents, expected, atol=1e-4)
    for index, decoded in enumerate(model.decode(latents)):
        difference = ImageChops.difference(decoded, Image.open(images.image(index)))
        assert max(high for _, high in difference.getextrema()) <= 1  # type: ignore[misc]


def test_a_restart_generates_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prior.generate_class_images(started(source, tmp_path))
    before = manifest_of(folder_of(first))
    monkeypatch.delattr(LatentDiffusion, "generate")
    again = prior.generate_class_images(started(source, tmp_path))
    assert again == first.model_copy(update={"generated": 0})
    assert manifest_of(folder_of(again)) == before


def test_a_longer_run_extends_and_changes_nothing(source: Path, tmp_path: Path) -> None:
    short = prior.generate_class_images(started(source, tmp_path / "two steps", images=3))
    before = manifest_of(folder_of(short))
    run = started(source, tmp_path / "two steps", images=10)
    longer = prior.generate_class_images(run)
    assert (longer.generated, folder_of(longer)) == (7, folder_of(short))
    snapshot = run.progress.snapshot()
    assert (snapshot.class_images_generated, snapshot.class_images.done) == (7, 10)
    after = manifest_of(folder_of(longer))
    assert {name: after[name] for name in before} == before
    at_once = prior.generate_class_images(started(source, tmp_path / "at once", images=10))
    assert manifest_of(folder_of(at_once)) == after


def test_any_number_of_processes_generates_the_same(source: Path, tmp_path: Path) -> None:
    alone = prior.generate_class_images(started(source, tmp_path / "alone", images=10))
    shares = [
        prior.generate_class_images(started(source, tmp_path / "shared", Distributed(rank, 2), images=10)).generated
        for rank in range(2)
    ]
    assert shares == [6, 4]
    shared = tmp_path / "shared" / folder_of(alone).relative_to(tmp_path / "alone")
    assert manifest_of(shared) == manifest_of(folder_of(alone))


@pytest.mark.parametrize("name", ["latents.safetensors", "image.png"])
def test_a_damaged_image_is_generated_again(source: Path, tmp_path: Path, name: str) -> None:
    folder = folder_of(prior.generate_class_images(started(source, tmp_path)))
    before = manifest_of(folder)
    damaged = ClassImages(folder).image(2).with_name(name)
    damaged.write_bytes(damaged.read_bytes()[:-10])
    assert prior.generate_class_images(started(source, tmp_path)).generated == 1
    assert manifest_of(folder) == before


@pytest.mark.parametrize("name", ["latents.safetensors", "image.png"])
def test_a_changed_image_is_generated_again_as_before(source: Path, tmp_path: Path, name: str) -> None:
    folder = folder_of(prior.generate_class_images(started(source, tmp_path)))
    before = manifest_of(folder)
    mine, other = (ClassImages(folder).image(index).with_name(name) for index in (2, 3))
    mine.write_bytes(other.read_bytes())
    assert prior.generate_class_images(started(source, tmp_path)).generated == 1
    assert manifest_of(folder) == before


@pytest.fixture
def read_only(source: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder whose `cache` has four images and can't be written to."""
    prior.generate_class_images(started(source, tmp_path, images=4))
    folders = [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()] + [tmp_path / "cache"]
    for folder in folders:
        folder.chmod(0o555)
    if os.access(tmp_path / "cache", os.W_OK):
        pytest.skip("root writes everywhere")
    yield tmp_path
    for folder in folders:
        folder.chmod(0o755)


def test_images_of_a_read_only_cache_are_used_and_new_ones_are_in_the_run(source: Path, read_only: Path) -> None:
    before = manifest_of(read_only / "cache")
    generated = prior.generate_class_images(started(source, read_only, images=10))
    assert (generated.generated, folder_of(generated).parent) == (6, read_only / "run" / "class-images")
    assert manifest_of(read_only / "cache") == before
    alone = prior.generate_class_images(started(source, read_only / "alone", images=10))
    (mine,), (other,) = generated.sets, alone.sets
    assert torch.equal(mine.images.latents(range(10)), other.images.latents(range(10)))
    assert prior.generate_class_images(started(source, read_only, images=10)).generated == 0


def test_an_empty_read_only_cache_is_accepted(source: Path, read_only: Path) -> None:
    assert prior.generate_class_images(started(source, read_only, images=4, prompt="a red {class}")).generated == 4


@pytest.mark.parametrize(
    "settings",
    [{"prompt": "a red {class}"}, {"sampler": {"steps": 1}}, {"sampler": {"steps": 2, "scheduler": "ddim"}}],
)
def test_other_settings_have_another_folder(source: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    first, other = (
        prior.generate_class_images(started(source, tmp_path)),
        prior.generate_class_images(started(source, tmp_path, **settings)),
    )
    assert other.generated == 6
    assert folder_of(other) != folder_of(first)


def test_a_share_is_generated_with_the_empty_prompt(source: Path, tmp_path: Path) -> None:
    generated = prior.generate_class_images(started(source, tmp_path, unconditionalShare=0.5))
    assert [(one.prompt, one.count) for one in generated.sets] == [("a dog", 3), ("", 3)]
    classes, nothing = (ClassImages(Path(one.folder)).latents(range(3)) for one in generated.sets)
    assert not torch.allclose(classes, nothing, atol=1e-3)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with four pictures of the class."""
    (tmp_path / "own").mkdir()
    for number in range(4):
        scene(number, (96, 80)).save(tmp_path / "own" / f"{number}.png")
    return tmp_path / "own"


def test_own_images_are_used_first_and_the_rest_is_generated(
    source: Path, tmp_path: Path, own: Path, tiny_models: dict[Layout, StableDiffusion]
) -> None:
    run = started(source, tmp_path, images=10, unconditionalShare=0.3, source={"path": str(own)})
    provided = prior.generate_class_images(run)
    assert provided.generated == 6
    assert [(one.prompt, one.count) for one in provided.sets] == [("a dog", 4), ("a dog", 3), ("", 3)]
    encoded, generated, _ = provided.sets
    pictures = [cut(Image.open(path), (64, 64)) for path in sorted(own.iterdir(), key=sha256_of)]
    pixels = torch.stack([prior.pixels_of(picture) for picture in pictures])
    expected = tiny_models["1.x"].encode_images(pixels).mean_BCHW
    assert torch.allclose(encoded.images.latents(range(4)), expected, atol=1e-5)
    alone = prior.generate_class_images(started(source, tmp_path / "alone", images=3)).sets[0]
    assert torch.equal(generated.images.latents(range(3)), alone.images.latents(range(3)))
    snapshot = run.progress.snapshot()
    assert (snapshot.class_images.done, snapshot.class_images_generated) == (10, 6)


def test_class_images_have_the_sizes_of_the_photos(
    source: Path, tmp_path: Path, own: Path, tiny_models: dict[Layout, StableDiffusion]
) -> None:
    settings = {"images": 10, "unconditionalShare": 0.4, "noisings": 2, "source": {"path": str(own)}}
    run = started(source, tmp_path, **settings)
    run.config = run.config.model_copy(update={"subject": run.config.subject.model_copy(update={"crop": "none"})})
    run.folder.photos.mkdir(parents=True)
    sizes = [(48, 80), (64, 64), (48, 80)]
    for number, size in enumerate(sizes):
        scene(number, size).save(run.folder.photos / f"{number}.png")
    provided = prior.generate_class_images(run)
    assert [(one.size, one.prompt, one.count) for one in provided.sets] == [
        ((48, 80), "a dog", 3),
        ((48, 80), "a dog", 1),
        ((48, 80), "", 3),
        ((64, 64), "a dog", 1),
        ((64, 64), "a dog", 1),
        ((64, 64), "", 1),
    ]
    for one in provided.sets:
        width, height = one.size
        assert one.images.latents(range(one.count)).shape == (one.count, 4, height // 8, width // 8)
        assert {Image.open(one.images.image(index)).size for index in range(one.count)} == {one.size}
    squares = prior.generate_class_images(started(source, tmp_path, images=1))
    assert squares.generated == 0, "squares are those of any run"

    tall, square = cache.make_datasets(run, prepared_photos(run), provided)
    assert tall.photos.mean_BCHW.shape == (2, 4, 10, 6) and square.photos.mean_BCHW.shape == (1, 4, 8, 8)
    assert tall.class_prompt_K.tolist() == [1] * 4 + [2] * 3 and square.class_prompt_K.tolist() == [1, 1, 2]
    assert tall.tokens is square.tokens and tall.prompts is square.prompts
    for data in (tall, square):
        assert data.class_pool is not None and len(data.class_pool) == 2 * len(data.class_latents)
        assert data.class_pool.target_NCHW.shape[1:] == data.photos.mean_BCHW.shape[1:]
        assert float(data.class_pool.target_NCHW.flatten(1).std(1).min()) > 0


def test_own_images_stay_in_the_folder_of_the_run(source: Path, tmp_path: Path, own: Path) -> None:
    provided = prior.generate_class_images(started(source, tmp_path, images=4, source={"path": str(own)}))
    assert provided.generated == 0
    assert folder_of(provided).parent == tmp_path / "run" / "class-images"
    assert not (tmp_path / "cache").exists()


def test_a_restart_encodes_no_own_image_again(
    source: Path, tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"images": 4, "source": {"path": str(own)}}
    first = prior.generate_class_images(started(source, tmp_path, **settings))
    before = manifest_of(folder_of(first))
    for number, path in enumerate(sorted(own.iterdir(), reverse=True)):
        path.rename(own / f"renamed-{number}.png")
    with monkeypatch.context() as without:
        without.delattr(LatentDiffusion, "encode_images")
        again = prior.generate_class_images(started(source, tmp_path, **settings))
    assert (again, manifest_of(folder_of(again))) == (first, before)
    ClassImages(folder_of(first)).image(2).write_bytes(b"damaged")
    prior.generate_class_images(started(source, tmp_path, **settings))
    assert manifest_of(folder_of(again)) == before


def test_any_number_of_processes_encodes_the_same(source: Path, tmp_path: Path, own: Path) -> None:
    settings = {"images": 4, "source": {"path": str(own)}}
    alone = folder_of(prior.generate_class_images(started(source, tmp_path / "alone", **settings)))
    for rank in range(2):
        run = started(source, tmp_path / "shared", Distributed(rank, 2), **settings)
        shared = prior.generate_class_images(run)
        assert run.progress.snapshot().class_images.done == 2 * (rank + 1)
    assert manifest_of(folder_of(shared)) == manifest_of(alone)


def test_own_images_have_the_same_prompt_and_predictions_as_generated_ones(
    source: Path, tmp_path: Path, own: Path, photos: Sequence[Image.Image]
) -> None:
    run = started(source, tmp_path, images=8, unconditionalShare=0.25, noisings=2, source={"path": str(own)})
    run.folder.photos.mkdir(parents=True)
    for number, photo in enumerate(photos):
        photo.save(run.folder.photos / f"{number}.png")
    provided = prior.generate_class_images(run)
    (dataset,) = cache.make_datasets(run, prepared_photos(run), provided)
    assert dataset.class_prompt_K.tolist() == [1] * 6 + [2] * 2
    assert torch.equal(dataset.class_latents[:4].cpu(), provided.sets[0].images.latents(range(4)))
    assert dataset.class_pool is not None
    assert len(dataset.class_pool) == 16
    assert dataset.class_pool.prompt_N[:6].tolist() == [1] * 6


def test_a_stop_keeps_the_generated_images(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = started(source, tmp_path, images=8)
    generate = StableDiffusion.generate

    def generate_and_stop(self: StableDiffusion, *arguments: Any) -> GeneratedPictures:
        run.stop.request()
        return generate(self, *arguments)

    monkeypatch.setattr(StableDiffusion, "generate", generate_and_stop)
    with pytest.raises(Interrupted):
        prior.generate_class_images(run)
    monkeypatch.undo()
    assert prior.generate_class_images(started(source, tmp_path, images=8)).generated == 4


def fill(source: Path, root: Path, start: Any) -> None:
    """Another run with the same class, in a process of its own."""
    torch.set_num_threads(1)
    run = started(source, root, images=12)
    assert run.model
    start.wait()
    prior.generate_class_images(run)


def test_two_runs_fill_a_folder_at_the_same_time(source: Path, tmp_path: Path) -> None:
    processes = multiprocessing.get_context("fork" if not torch.cuda.is_available() else "spawn")
    start = processes.Barrier(2)
    jobs = [processes.Process(target=fill, args=(source, tmp_path / "both", start)) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(PATIENCE)
        assert job.exitcode == 0
    alone = folder_of(prior.generate_class_images(started(source, tmp_path / "alone", images=12)))
    together = tmp_path / "both" / alone.relative_to(tmp_path / "alone")
    assert manifest_of(together) == manifest_of(alone)


@pytest.fixture
def photos() -> Sequence[Image.Image]:
    return [Image.linear_gradient("L").resize((64, 64)).convert("RGB").rotate(90 * turn) for turn in range(3)]


def test_the_cache_holds_photos_class_images_and_prompts(
    source: Path, tmp_path: Path, photos: Sequence[Image.Image], tiny_models: dict[Layout, StableDiffusion]
) -> None:
    run = started(source, tmp_path, unconditionalShare=0.5, otherWords=0)
    run.folder.photos.mkdir(parents=True)
    for number, photo in enumerate(photos):
        photo.save(run.folder.photos / f"{number}.png")
    generated = prior.generate_class_images(run)
    (dataset,) = cache.make_datasets(run, prepared_photos(run), generated)
    assert dataset.photos.mean_BCHW.shape == (3, 4, 8, 8)
    assert dataset.class_latents.shape == (6, 4, 8, 8)
    assert torch.equal(dataset.class_latents[:3].cpu(), ClassImages(Path(generated.sets[0].folder)).latents(range(3)))
    assert dataset.class_prompt_K.tolist() == [1, 1, 1, 2, 2, 2]
    assert torch.equal(
        dataset.tokens["text_encoder"].cpu(), tiny_models["1.x"].tokenize(["a sks dog", "a dog", ""])["text_encoder"]
    )
    pixels = torch.stack(cache.read_pictures(sorted(run.folder.photos.glob("*.png"))))
    assert -1 <= pixels.min() < -0.95 and 0.95 < pixels.max() <= 1
    expected = tiny_models["1.x"].encode_images(pixels).mean_BCHW
    assert torch.allclose(dataset.photos.mean_BCHW.cpu(), expected, atol=1e-4)

    (alone,) = cache.make_datasets(run, prepared_photos(run), None)
    assert len(alone.class_latents) == len(alone.class_prompt_K) == 0 and len(alone.tokens["text_encoder"]) == 1


def test_the_pool_spreads_each_class_image_over_the_timesteps(
    source: Path, tmp_path: Path, photos: Sequence[Image.Image]
) -> None:
    run = started(source, tmp_path, noisings=8, unconditionalShare=0.5, otherWords=0)
    run.folder.photos.mkdir(parents=True)
    photos[0].save(run.folder.photos / "0.png")
    (dataset,) = cache.make_datasets(run, prepared_photos(run), prior.generate_class_images(run))
    pool = dataset.class_pool
    assert pool is not None and len(pool) == 48
    assert pool.prompt_N.tolist() == [1, 1, 1, 2, 2, 2] * 8
    for image in range(6):
        strengths = pool.t_N[image::6].sort().values
        assert strengths.diff().max() < 400 and strengths[0] < 400 and strengths[-1] >= 600


def test_predictions_are_made_in_batches_that_fit_the_memory(
    source: Path, tmp_path: Path, photos: Sequence[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pretended device has memory for three rows."""
    run = started(source, tmp_path, noisings=2)
    run.folder.photos.mkdir(parents=True)
    photos[0].save(run.folder.photos / "0.png")
    class_images = prior.generate_class_images(run)
    (expected,) = (one.class_pool for one in cache.make_datasets(run, prepared_photos(run), class_images))
    predicted_by, rows = cache.predicted_by, []

    def limited(model: ModelFamily, batch: Noised, prompts: Tensors, images: Tensors) -> Tensor:
        rows.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return predicted_by(model, batch, prompts, images)

    monkeypatch.setattr(cache, "predicted_by", limited)
    (found,) = (one.class_pool for one in cache.make_datasets(run, prepared_photos(run), class_images))
    assert rows == [8, 4, 2, 2, 2, 2, 2, 2]
    assert found is not None and expected is not None
    torch.testing.assert_close(found.target_NCHW, expected.target_NCHW, atol=1e-4, rtol=1e-4)


def test_the_noise_itself_can_be_the_target(source: Path, tmp_path: Path, photos: Sequence[Image.Image]) -> None:
    run = started(source, tmp_path, target="noise")
    run.folder.photos.mkdir(parents=True)
    photos[0].save(run.folder.photos / "0.png")
    (dataset,) = cache.make_datasets(run, prepared_photos(run), prior.generate_class_images(run))
    assert dataset.class_pool is None and dataset.randomness(0, 0, batch=6).class_G.sort().values.tolist() == list(
        range(6)
    )


def test_half_of_the_versions_of_empty_prompt_images_have_other_words(
    source: Path, tmp_path: Path, photos: Sequence[Image.Image], tiny_models: dict[Layout, StableDiffusion]
) -> None:
    run = started(source, tmp_path, noisings=4, unconditionalShare=0.5, otherWords=5)
    run.folder.photos.mkdir(parents=True)
    photos[0].save(run.folder.photos / "0.png")
    (dataset,) = cache.make_datasets(run, prepared_photos(run), prior.generate_class_images(run))
    assert dataset.class_pool is not None and len(dataset.tokens["text_encoder"]) == 3 + 5
    prompt_RK = dataset.class_pool.prompt_N.view(4, 6)
    assert (prompt_RK[:, :3] == 1).all()
    assert ((prompt_RK[:, 3:] == 2).sum(), (prompt_RK[:, 3:] >= 3).sum()) == (6, 6)
    assert set(prompt_RK[prompt_RK >= 3].tolist()) == {3, 4, 5, 6, 7}
    words = [
        text.removeprefix("a ")
        for text in tiny_models["1.x"].pipeline.tokenizer.batch_decode(
            dataset.tokens["text_encoder"][3:], skip_special_tokens=True
        )
    ]
    assert len(set(words)) == 5 and not {"dog", "sks", "a"} & set(words)


def test_a_stop_ends_the_predictions(source: Path, tmp_path: Path, photos: Sequence[Image.Image]) -> None:
    run = started(source, tmp_path)
    run.folder.photos.mkdir(parents=True)
    photos[0].save(run.folder.photos / "0.png")
    generated = prior.generate_class_images(run)
    run.stop.request()
    with pytest.raises(Interrupted):
        cache.make_datasets(run, prepared_photos(run), generated)
