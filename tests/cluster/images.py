"""Builds the two images of the project from its Dockerfile, on a base of Debian packages, and loads them into containerd."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.cluster.layout import CACHE, CTR, LOGS, PAUSE_IMAGE, ROOT
from tests.cluster.processes import NotReady, run, succeeds

SUITE = "bookworm"
PACKAGES = "ca-certificates", "python3", "python3-venv", "python-is-python3"
BASE = f"localhost/dreambooth-test-base:{SUITE}-{'-'.join(PACKAGES)}"
COMMON = "Dockerfile", "pyproject.toml", "uv.lock", "LICENSE", "api"
INGREDIENTS = {"operator": (*COMMON, "operator/dreambooth_operator"), "trainer": (*COMMON, "trainer_image")}
"""The inputs of each image."""
LAYERS = CACHE / "images" / "layers"
"""Pushed layers, by target: those of libraries have gigabytes and are written only once."""


def reference(target: str) -> str:
    """The image of a target of the Dockerfile; its tag is a digest of its inputs."""
    digest = hashlib.sha256(BASE.encode())
    for name in INGREDIENTS[target]:
        for file in sorted(path for path in [ROOT / name, *(ROOT / name).rglob("*")] if path.is_file()):
            if "__pycache__" not in file.parts:
                digest.update(f"{file.relative_to(ROOT)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return f"localhost/dreambooth-{target}:{digest.hexdigest()[:16]}"


def load(target: str) -> str:
    """Builds an image if it does not exist, loads it into containerd and returns its name.

    Raises:
        NotReady: it can't be built.
    """
    image = reference(target)
    if not _is_loaded(image):
        if not succeeds("buildah", "inspect", "--type", "image", image):
            _build(target, image)
        _import(image, LAYERS / target)
        _remove_others(target, image)
    return image


def load_pause(binary: Path) -> None:
    """Builds and loads the sandbox image of pods."""
    if not _is_loaded(PAUSE_IMAGE):
        load_files(PAUSE_IMAGE, "scratch", {binary: "/pause"}, '--entrypoint=["/pause"]')


def load_files(image: str, base: str, files: Mapping[Path, str], *settings: str) -> None:
    """Builds an image from files and a base, and loads it.

    Args:
        image: its name.
        base: an image that buildah knows, `scratch` or `BASE`, which is made if need be.
        files: where each file or folder goes.
        settings: flags of `buildah config`.

    Raises:
        NotReady: it can't be made.
    """
    if base == BASE:
        _ensure_base()
    container = run("buildah", "from", base).strip()
    for file, place in files.items():
        run("buildah", "copy", container, file, place)
    run("buildah", "config", *settings, container)
    run("buildah", "commit", "--rm", container, image)
    _import(image, LAYERS / image.rpartition("/")[2].partition(":")[0])


def _build(target: str, image: str) -> None:
    _ensure_base()
    cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))
    cache.mkdir(parents=True, exist_ok=True)
    arguments = {"BASE_IMAGE": BASE, "UV_SYSTEM_CERTS": "true"}
    command = [
        "buildah",
        "build",
        "--isolation=chroot",
        "--network=host",
        "--layers",
        f"--target={target}",
        f"--tag={image}",
    ]
    command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
    command += [f"--volume={cache}:/root/.cache/uv", "--volume=/etc/ssl/certs:/etc/ssl/certs:ro", str(ROOT)]
    _logged(command)


def _ensure_base() -> None:
    """The content of the base images: Debian with Python."""
    if succeeds("buildah", "inspect", "--type", "image", BASE):
        return
    folder = CACHE / "images" / "base"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _logged(["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(folder)])
    container = run("buildah", "from", "scratch").strip()
    mounted = run("buildah", "mount", container).strip()
    run("cp", "--archive", f"{folder}/.", mounted)
    run("buildah", "unmount", container)
    run("buildah", "commit", "--rm", container, BASE)
    shutil.rmtree(folder)


def _import(image: str, layers: Path) -> None:
    """Loads an image; existing layers are not written again, and unused ones are removed."""
    layers.mkdir(parents=True, exist_ok=True)
    (layers / "index.json").unlink(missing_ok=True)
    # Compressed layers would have different digests than those of buildah, and would be written again each time.
    run("buildah", "push", "--disable-compression", image, f"oci:{layers}:{image}")
    blobs = layers / "blobs" / "sha256"
    (digest,) = (entry["digest"] for entry in json.loads((layers / "index.json").read_text())["manifests"])
    manifest = json.loads((blobs / digest.removeprefix("sha256:")).read_text())
    parts = {digest, manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
    for blob in blobs.iterdir():
        if f"sha256:{blob.name}" not in parts:
            blob.unlink()
    known = [f"--exclude=./blobs/{blob.replace(':', '/')}" for blob in run(*CTR, "content", "ls", "-q").split()]
    archive = subprocess.Popen(["tar", "--create", f"--directory={layers}", *known, "."], stdout=subprocess.PIPE)
    imported = subprocess.run([*CTR, "images", "import", "-"], stdin=archive.stdout, capture_output=True, text=True)
    if imported.returncode or archive.wait():
        raise NotReady(f"{image} was not imported: {imported.stderr}")


def _remove_others(target: str, image: str) -> None:
    """Removes previous versions of an image: a trainer has six gigabytes."""
    prefix = f"localhost/dreambooth-{target}:"
    for old in run(*CTR, "images", "ls", "-q").split():
        if old.startswith(prefix) and old != image:
            run(*CTR, "images", "rm", old)
    for old in run("buildah", "images", "--format", "{{.Name}}:{{.Tag}}").split():
        if old.startswith(prefix) and old != image:
            subprocess.run(["buildah", "rmi", old], capture_output=True)


def _is_loaded(image: str) -> bool:
    return image in run(*CTR, "images", "ls", "-q").split()


def _logged(command: Sequence[str]) -> None:
    """Runs a command that takes long."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / "images.log").open("ab") as log:
        if subprocess.run(command, stdout=log, stderr=log).returncode:
            raise NotReady(f"{' '.join(command)} failed: {LOGS / 'images.log'}")
