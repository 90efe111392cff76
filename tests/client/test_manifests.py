"""Tests of dreambooth_client.manifests."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from dreambooth_client.manifests import Manifest, read

SOUND = """
apiVersion: dreambooth.io/v1alpha1
kind: DreamBoothJob
metadata:
  name: dog
spec:
  model: {source: "embedded://emoji"}
  subject:
    class: dog
    images: {path: photos}
  training: {learningRate: 1e-4, steps: 10}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "photos" / "1.png")
    return tmp_path


def problems_of(folder: Path, text: str | bytes) -> dict[str, str]:
    """Fields and messages of the problems of a manifest."""
    file = folder / "job.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    found = read(file)
    assert isinstance(found, list)
    return {problem.field: problem.message for problem in found}


def test_paths_are_relative_to_the_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "base").mkdir()
    text = SOUND.replace('"embedded://emoji"', "base, config: org/name") + "  evaluation: {encoder: ./base}\n"
    (folder / "job.yaml").write_text(text)
    monkeypatch.chdir(folder.parent)
    manifest = read(Path(folder.name) / "job.yaml")
    assert isinstance(manifest, Manifest)
    assert manifest.config.subject.images.path == str(folder / "photos")
    assert manifest.config.model.source == manifest.config.evaluation.encoder == str(folder / "base")
    assert manifest.config.model.config == "org/name"
    assert manifest.config.training.learning_rate == 1e-4


def test_embedded_models_are_no_paths(folder: Path) -> None:
    (folder / "job.yaml").write_text(SOUND)
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    assert manifest.config.model.source == manifest.config.evaluation.encoder == "embedded://emoji"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no DreamBoothJob"),
        ("# nothing\n", "holds no DreamBoothJob"),
        ("---\n---\n", "holds no DreamBoothJob"),
        ("just words", "is no manifest"),
        ("- a\n- b\n", "is no manifest"),
        ("kind: ConfigMap\n---\nkind: Service\n", "holds no DreamBoothJob"),
        (f"{SOUND}---{SOUND}", "holds 2 of kind DreamBoothJob"),
        ("spec:\n  a: 1\n b: 2\n", "is no valid YAML in line 3, column 2"),
        ("spec: {steps: 1, steps: 2}", "is no valid YAML in line 1, column 18: steps stands twice"),
        ("a: !!python/object:os.system {}", "is no valid YAML in line 1, column 4"),
        (b"\xff\xfe\x00", "is no valid YAML"),
        (b"a: \x00", "is no valid YAML"),
        ("day: 2026-99-99", "is no valid YAML"),
    ],
)
def test_files_that_are_no_manifest(folder: Path, text: str | bytes, message: str) -> None:
    (found,) = problems_of(folder, text).items()
    assert found[0] == "FILE"
    assert found[1].startswith(message)


def test_a_missing_file(tmp_path: Path) -> None:
    (problem,) = read(tmp_path / "job.yaml")  # type: ignore[misc]
    assert problem.message == "can't be read: No such file or directory"


@pytest.mark.parametrize(
    ("old", "new", "field", "message"),
    [
        ("apiVersion: dreambooth.io/v1alpha1", "", "apiVersion", "is missing"),
        ("v1alpha1", "v1", "apiVersion", "should be 'dreambooth.io/v1alpha1'"),
        ("kind: DreamBoothJob", "kind: Job", "kind", "should be 'DreamBoothJob'"),
        ("name: dog", "namespace: dog", "metadata.name", "is missing"),
        ("name: dog", "name: My Dog", "metadata.name", "has the wrong form"),
        ("metadata:\n  name: dog\n", "", "metadata", "is missing"),
        ("spec:", "sepc:", "spec", "is missing"),
        ("spec:", "sepc:", "sepc", "is an unknown field"),
        ("steps: 10", "steps: 0", "spec.training.steps", "should be greater than or equal to 1"),
        ("steps: 10", "steps: 10, warmupSteps: 20", "spec.training.warmupSteps", "leaves no step"),
        ("photos", "nowhere", "spec.subject.images", "can't be read: No such file or directory"),
        ("class: dog", "class: {dog: 1}", "spec.subject.class", "should be a valid string"),
    ],
)
def test_wrong_manifests(folder: Path, old: str, new: str, field: str, message: str) -> None:
    assert problems_of(folder, SOUND.replace(old, new))[field].startswith(message)


@pytest.mark.parametrize(
    ("section", "field", "message"),
    [
        ("scheduling: {tolerations: [{effect: NoSchedule}]}", "scheduling.tolerations[0]", "has no key"),
        ("scheduling: {nodeSelector: {a b: c}}", "scheduling.nodeSelector.a b", "has the wrong form"),
        ("scheduling: {nodeSelector: {a: b c}}", "scheduling.nodeSelector.a", "has the wrong form"),
        ("scheduling: {nodeSelector: {3: c}}", "scheduling.nodeSelector[3]", "should be a valid string"),
        ("scheduling: {nodeSelector: c}", "scheduling.nodeSelector", "is not a section"),
        ("resources: {memory: 1Gi}", "resources.sharedMemory", "is more than resources.memory"),
        ("resources: {gpuResourceName: kubernetes.io/gpu}", "resources.gpuResourceName", "is no extended resource"),
        ("volumes: {output: {create: {size: 0Gi}}}", "volumes.output.create.size", "is not greater than 0"),
        ("volumes: {cache: {claimName: a..b}}", "volumes.cache.claimName", "has the wrong form"),
    ],
)
def test_sections_that_a_cluster_would_refuse(folder: Path, section: str, field: str, message: str) -> None:
    (found,) = problems_of(folder, f"{SOUND}  {section}\n").items()
    assert (found[0], found[1].startswith(message)) == (f"spec.{field}", True), found


def test_everything_is_reported_at_once(folder: Path) -> None:
    text = SOUND.replace("kind: DreamBoothJob", "kind: Job").replace("name: dog", "name: Dog").replace("10", "ten")
    assert set(problems_of(folder, text + "  prior: {prompt: a dog}\n")) == {
        "kind",
        "metadata.name",
        "spec.training.steps",
        "spec.prior.prompt",
    }


def test_photos_are_checked_in_addition_to_wrong_fields(folder: Path) -> None:
    (folder / "photos" / "notes.txt").write_text("x")
    assert set(problems_of(folder, SOUND.replace("10", "ten"))) == {"spec.training.steps", "spec.subject.images"}


def test_the_job_among_other_documents(folder: Path) -> None:
    (folder / "job.yaml").write_text(f"kind: ConfigMap\n---{SOUND}")
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    assert manifest.job.metadata.name == "dog"


def with_config_map(**data: str) -> str:
    """A manifest with its photos in the same file."""
    job = SOUND.replace("images: {path: photos}", "images: {configMap: {name: rex}}")
    parts = {"data": {"1.xmp": "<xmp/>"}, "binaryData": {".DS_Store": "AAAA", **data}}
    documents = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rex"}, **parts}
    return f"{job}---\n{yaml.safe_dump(documents)}"


def test_photos_in_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    photo = (folder / "photos" / "1.png").read_bytes()
    (folder / "job.yaml").write_text(with_config_map(**{"1.png": base64.b64encode(photo).decode()}))
    for _ in range(2):  # also if they are already unpacked
        manifest = read(folder / "job.yaml")
        assert isinstance(manifest, Manifest)
        unpacked = {path.name: path.read_bytes() for path in Path(str(manifest.config.subject.images.path)).iterdir()}
        assert unpacked == {"1.png": photo, "1.xmp": b"<xmp/>", ".DS_Store": bytes(3)}


def test_photos_in_the_same_file_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    corrupt = base64.b64encode(b"no photo").decode()
    problems = problems_of(
        folder, with_config_map(**{"1.png": corrupt, "2.png": "no base64!", "../3": corrupt, "..data": corrupt})
    )
    assert set(problems) == {
        "spec.subject.images",
        "binaryData of ConfigMap rex, 2.png",
        "binaryData of ConfigMap rex",
    }


def test_photos_and_class_images_in_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    Image.new("RGB", (64, 64), "red").save(folder / "dog.png")
    pictures = {"rex": folder / "photos" / "1.png", "dogs": folder / "dog.png"}
    job = SOUND.replace("images: {path: photos}", "images: {configMap: {name: rex}}")
    maps = [
        {
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "binaryData": {file.name: base64.b64encode(file.read_bytes()).decode()},
        }
        for name, file in pictures.items()
    ]
    text = f"{job}  prior: {{source: {{configMap: {{name: dogs}}}}}}\n---\n{yaml.safe_dump_all(maps)}"
    (folder / "job.yaml").write_text(text)
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    assert manifest.config.prior.source is not None
    for images, file in ((manifest.config.subject.images, "1.png"), (manifest.config.prior.source, "dog.png")):
        assert [path.name for path in Path(str(images.path)).iterdir()] == [file]


def test_photos_in_several_config_maps_of_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    job = SOUND.replace("images: {path: photos}", "images: {configMaps: [{name: rex-1}, {name: rex-2}]}")
    photo = base64.b64encode((folder / "photos" / "1.png").read_bytes()).decode()
    maps = [
        {"kind": "ConfigMap", "metadata": {"name": f"rex-{number}"}, "binaryData": {f"{number}.png": photo}}
        for number in (1, 2)
    ]
    (folder / "job.yaml").write_text(f"{job}---\n{yaml.safe_dump_all(maps)}")
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    unpacked = Path(str(manifest.config.subject.images.path))
    assert sorted(path.name for path in unpacked.iterdir()) == ["1.png", "2.png"]
    # With only one of them at hand, the pictures are those of the cluster.
    (folder / "job.yaml").write_text(f"{job}---\n{yaml.safe_dump(maps[0])}")
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest) and manifest.config.subject.images.path is None


def test_a_config_map_that_only_the_cluster_has_is_not_checked(folder: Path) -> None:
    (folder / "job.yaml").write_text(with_config_map().partition("---")[0])
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    assert manifest.config.subject.images.path is None


def test_anchors_and_merges(folder: Path) -> None:
    text = SOUND.replace("training: {", "checkpoints: &c {keep: 3}\n  training: {")
    (folder / "job.yaml").write_text(text.replace("&c {", "{<<: {intervalSeconds: 5}, "))
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    assert (manifest.config.checkpoints.interval_seconds, manifest.config.checkpoints.keep) == (5, 3)


def with_subjects(folder: Path, *images: dict[str, Any], **spec: Any) -> str:
    """A manifest of a dog and a cat."""
    document = yaml.safe_load(SOUND)
    del document["spec"]["subject"]
    pets = {"rex": "dog", "tom": "cat"}.items()
    document["spec"]["subjects"] = [
        {"name": name, "class": class_, "images": of_one} for (name, class_), of_one in zip(pets, images, strict=True)
    ]
    document["spec"] |= spec
    for number, name in enumerate(("rex", "tom")):
        (folder / name).mkdir()
        Image.new("RGB", (64, 64), (number, 0, 0)).save(folder / name / f"{name}.png")
    return yaml.safe_dump(document)


def test_several_subjects_have_a_folder_each(folder: Path) -> None:
    (folder / "job.yaml").write_text(with_subjects(folder, {"path": "rex"}, {"path": "tom"}))
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    paths = [one.images.path for one in manifest.config.all_subjects.values()]
    assert paths == [str(folder / "rex"), str(folder / "tom")]


def test_photos_of_several_subjects_may_be_in_the_file(folder: Path) -> None:
    text = with_subjects(folder, {"configMap": {"name": "rex"}}, {"configMap": {"name": "tom"}})
    maps = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "binaryData": {f"{name}.png": base64.b64encode((folder / name / f"{name}.png").read_bytes()).decode()},
        }
        for name in ("rex", "tom")
    ]
    (folder / "job.yaml").write_text(f"{text}---\n{yaml.safe_dump_all(maps)}")
    manifest = read(folder / "job.yaml")
    assert isinstance(manifest, Manifest)
    for one in manifest.config.all_subjects.values():
        assert [path.name for path in Path(str(one.images.path)).iterdir()] == [f"{one.called}.png"]


@pytest.mark.parametrize(
    ("images", "spec", "field", "message"),
    [
        ({"path": "nowhere"}, {}, "spec.subjects[1].images", "can't be read: No such file or directory"),
        ({"path": "rex"}, {}, "spec.subjects[1].images", "is also a photo of the subject rex"),
        (
            {"path": "tom"},
            {"samples": {"prompts": ["{bob}"]}},
            "spec.samples.prompts[0]",
            "has the unknown placeholder",
        ),
        (
            {"path": "tom"},
            {"samples": {"prompts": [f"{'in the snow ' * 20}with {{tom}}"]}},
            "spec.samples.prompts[0]",
            "is longer than the text encoder reads, and loses",
        ),
    ],
)
def test_problems_of_several_subjects(
    folder: Path, images: dict[str, Any], spec: dict[str, Any], field: str, message: str
) -> None:
    assert problems_of(folder, with_subjects(folder, {"path": "rex"}, images, **spec))[field].startswith(message)
