"""Trainings with photos of several shapes, which are not cut to squares."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from PIL import Image
from torch import Tensor

from dreambooth_api.failures import InvalidConfig
from dreambooth_trainer import embedded
from dreambooth_trainer.phases import cache, prior
from dreambooth_trainer.training.dataset import Dataset
from dreambooth_trainer.training.division import divide
from dreambooth_trainer.training.micro_batches import micro_batches
from dreambooth_trainer.training.module import DreamBoothModule
from tests.trainer.data.scenes import scene
from tests.trainer.test_pipeline import SLOW
from tests.trainer.tiny_models import build
from tests.trainer.tiny_training import (
    Job,
    assert_resumed_to,
    distance,
    finish,
    hidden_gpus,
    interrupted,
    job_of,
    killed,
    prepared_photos,
    settings,
    write_model,
)

SHAPES = {"tall.png": (120, 200), "wide.png": (200, 120), "square.jpg": (150, 150), "tall too.png": (96, 160)}
SIZES = {"tall.png": (48, 80), "wide.png": (80, 48), "square.jpg": (64, 64), "tall too.png": (48, 80)}
BATCH = 4
WHOLE = {"crop": "none", "mask": "loss"}


def write_shapes(folder: Path) -> None:
    """A photo of each shape, of which one has a mask and one a caption."""
    folder.mkdir(parents=True)
    for number, (name, size) in enumerate(SHAPES.items()):
        scene(number, size).save(folder / name)
    mask = Image.new("L", SHAPES["tall.png"], 0)
    mask.paste(255, (30, 20, 90, 180))
    mask.save(folder / "tall.mask.png")
    (folder / "wide.txt").write_text("a {identifier} {class} at sea")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model` and `photos`."""
    root = tmp_path_factory.mktemp("shapes")
    write_model(root / "model")
    write_shapes(root / "photos")
    return root


def job(root: Path, name: str, stage: int = 0, subject: Mapping[str, Any] = WHOLE, **sections: Any) -> Job:
    prior = {"images": 8, **sections.pop("prior", {})}
    return job_of(root, name, subject=subject, deepspeed={"zeroStage": stage}, prior=prior, **sections)


def cut_sizes(job: Job) -> dict[str, tuple[int, int]]:
    """Sizes of the training pictures by the names of their photos."""
    prepared = json.loads((job.output.state / "prepare.json").read_text())["result"]
    return {photo["source"]: Image.open(job.output.photos / photo["file"]).size for photo in prepared["photos"]}


def datasets(job: Job, processes: int = 1) -> Sequence[Dataset]:
    """The datasets of its steps."""
    run = job.run(processes)
    recorded = json.loads((job.output.state / "prepare.json").read_text())["result"]["photos"]
    photos = [
        photo.model_copy(update={name: of_photo[name] for name in ("width", "height", "caption", "masked")})
        for photo, of_photo in zip(prepared_photos(run), recorded, strict=True)
    ]
    return cache.make_datasets(run, photos, prior.generate_class_images(run))


def plain_loop(job: Job, processes: int) -> dict[str, Tensor]:
    """The same training as a torch loop without DeepSpeed: the mean of the losses of all rows in each step."""
    run, data = job.run(processes), datasets(job, processes)
    training = run.config.training
    module = DreamBoothModule(run.hand_over_model(exact=True), training, run.config.prior.weight)
    parameters = [parameter for _, parameter in module.learning()]
    optimizer = torch.optim.AdamW(parameters, lr=training.denoiser_learning_rate, eps=training.optimizer.epsilon)
    division = divide(training, rank=0, size=1, one_size=False)
    for step in range(training.steps):
        optimizer.zero_grad()
        losses = [module(*batch).total for batch in micro_batches(data, training.seed, step, division)]
        torch.stack(losses).mean().backward()
        torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm)
        optimizer.step()
    return {name: weights.detach().cpu() for name, weights in module.learning()}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_command_line_trains_the_embedded_model(tmp_path: Path, method: str) -> None:
    write_shapes(tmp_path / "photos")
    sections = settings(Path("model"), Path("photos"), subject=WHOLE, prior={"images": 9})
    sections["model"] = {"source": "embedded://emoji"}
    sections["training"] = {"steps": 4, "batchSize": 2, "method": method}
    sections["evaluation"] = {"contexts": ["at sea", "at night"], "otherClasses": ["cat", "car"], "perPrompt": 2}
    document = {
        "apiVersion": "dreambooth.io/v1alpha1",
        "kind": "DreamBoothJob",
        "metadata": {"name": "rex"},
        "spec": sections,
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(document))
    run = "import sys; from dreambooth_cli import main; sys.argv = ['dreambooth', *sys.argv[1:]]; main()"
    output = tmp_path / "run"
    code, said = finish(
        ["-c", run, "run", str(tmp_path / "job.yaml"), "--output", str(output)], XDG_CACHE_HOME=str(tmp_path / "cache")
    )
    assert code == 0, said
    assert sorted(Image.open(path).size for path in (output / "photos").iterdir()) == sorted(
        [(48, 80), (48, 80), (64, 64), (80, 48)]
    )
    (mask,) = (output / "masks").iterdir()
    assert Image.open(mask).size == Image.open(output / "photos" / mask.name).size == (48, 80)
    class_images = (tmp_path / "cache").rglob("image.png")
    assert {Image.open(path).size for path in class_images} == {(48, 80), (64, 64), (80, 48)}
    shown = re.findall(r"data:image/webp;base64,([^\"]+)", (output / "report.html").read_text())
    sizes = [Image.open(io.BytesIO(base64.b64decode(content))).size for content in shown[:4]]
    assert sorted(sizes) == sorted([(48, 80), (48, 80), (64, 64), (80, 48)])
    result = json.loads((output / "result.json").read_text())
    assert result["settings"]["subject"]["crop"] == "none" and 0 < result["figures"]["subj"] < 1

    model = output / "model"
    pipeline = StableDiffusionPipeline.from_pretrained(model / "diffusers")
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline("a sks dog", height=80, width=48, num_inference_steps=1).images[0].size == (48, 80)
    base = UNet2DConditionModel.from_pretrained(embedded.path("emoji") / "pipeline" / "unet")
    changed = [not torch.equal(a, b) for a, b in zip(base.parameters(), pipeline.unet.parameters(), strict=True)]
    assert any(changed)
    if method == "lora":
        fresh = StableDiffusionPipeline.from_pretrained(embedded.path("emoji") / "pipeline")
        fresh.load_lora_weights(model / "lora")
        assert fresh.get_active_adapters()


@pytest.fixture(scope="module")
def finished(root: Path) -> Job:
    """A finished run of one process; not to be changed."""
    one = job(root, "finished", training={"batchSize": BATCH})
    assert one.finish() == 0
    return one


@pytest.mark.slow
class TestPhotosOfSeveralShapes:
    def test_are_cut_as_little_as_their_buckets_need(self, finished: Job) -> None:
        assert cut_sizes(finished) == SIZES

    def test_are_datasets_with_class_images_of_their_size(self, finished: Job) -> None:
        tall, *others = sorted(datasets(finished), key=lambda one: -len(one.photos.mean_BCHW))
        assert tall.photos.mean_BCHW.shape == (2, 4, 10, 6)
        assert sorted(tuple(one.photos.mean_BCHW.shape) for one in others) == [(1, 4, 6, 10), (1, 4, 8, 8)]
        for one in (tall, *others):
            assert one.class_pool is not None
            assert len(one.class_latents) == 2 * len(one.photos.mean_BCHW)
            assert one.class_latents.shape[1:] == one.photos.mean_BCHW.shape[1:]
        assert tall.photo_weight_P1HW is not None and tall.photo_weight_P1HW.shape == (2, 1, 10, 6)
        means = tall.photo_weight_P1HW.flatten(1).mean(1)
        assert torch.allclose(means, torch.ones(2)) and float(tall.photo_weight_P1HW.std()) > 0
        captioned = [one.photo_prompt_P.tolist() for one in (tall, *others) if one.photo_prompt_P is not None]
        assert captioned == [[1]]

    @pytest.mark.parametrize("processes", [1, 2])
    @pytest.mark.parametrize("stage", [0, 2, 3])
    def test_train_the_weights_of_a_plain_loop(self, finished: Job, root: Path, stage: int, processes: int) -> None:
        """Also at stage 3, where each pass exchanges weights, and the processes compute different shapes."""
        one = job(root, f"{stage}-{processes}", stage, training={"batchSize": BATCH})
        if processes == 2:
            code, output = one.spawn(
                "torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", **hidden_gpus(2)
            )
            assert code == 0, output
        else:
            assert one.finish() == 0
        assert distance(one.exported(), plain_loop(finished, processes)) < 1e-4
        trained = json.loads((one.output.state / "train.json").read_text())["result"]
        assert (trained["processes"], trained["batch"], trained["zeroStage"]) == (processes, BATCH, stage)

    @pytest.mark.parametrize("method", ["full", "lora"])
    def test_resume_to_the_same_weights(self, root: Path, method: str) -> None:
        sections = {**SLOW, "training": {**SLOW["training"], "method": method, "batchSize": 2}}
        whole, first, second = (job(root, f"{name}-{method}", **sections) for name in ("whole", "stopped", "killed"))
        assert whole.finish() == 0
        for one in (interrupted(first), killed(second)):
            assert one.finish() == 0
            assert_resumed_to(one, whole)
            assert one.output.losses.read_text() == whole.output.losses.read_text()

    def test_belong_to_a_run_that_began_so(self, root: Path, finished: Job) -> None:
        changed = Job(finished.folder, job(root, "finished", subject={"mask": "loss"}).config, finished.cache)
        assert changed.finish() == InvalidConfig.exit_code
        assert "spec.subject.crop: 'center' differs from the 'none'" in finished.termination["message"]

    def test_tell_sdxl_how_they_were_framed(self, root: Path) -> None:
        build("xl").save_pretrained(root / "sdxl")
        one = job(root, "sdxl", model={"source": str(root / "sdxl")}, training={"batchSize": 2, "steps": 2})
        assert one.finish() == 0
        for data in datasets(one):
            photos, height, width = len(data.photos.mean_BCHW), *(8 * side for side in data.photos.mean_BCHW.shape[2:])
            time_ids = data.images["time_ids"]
            assert time_ids[photos:].unique(dim=0).tolist() == [[height, width, 0, 0, height, width]]
            for given_height, given_width, top, left, *target in time_ids[:photos].tolist():
                assert target == [height, width]
                scale = max(height / given_height, width / given_width)
                assert (top, left) == (
                    round((given_height * scale - height) / 2),
                    round((given_width * scale - width) / 2),
                )


@pytest.mark.slow
def test_photos_of_one_shape_that_is_no_square_are_computed_together(root: Path) -> None:
    (root / "tall").mkdir()
    for number in range(3):
        scene(number, (120, 200)).save(root / "tall" / f"{number}.png")
    one = job(
        root,
        "one-shape",
        subject={"crop": "none", "images": {"path": str(root / "tall")}},
        training={"batchSize": BATCH},
        prior={"target": "noise"},
    )
    assert one.finish() == 0
    (data,) = datasets(one)
    assert data.photos.mean_BCHW.shape == (3, 4, 10, 6) and data.class_latents.shape == (8, 4, 10, 6)
    run = one.run()
    module = DreamBoothModule(run.hand_over_model(exact=True), run.config.training, 1.0)
    (batch,) = micro_batches([data], 0, 0, divide(run.config.training, rank=0, size=1))
    first = json.loads(one.output.losses.read_text().splitlines()[0])
    assert module(*batch).subject.item() == pytest.approx(first["loss"], rel=1e-4)
