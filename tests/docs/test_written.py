"""Each command of the documentation is run by a test, and each manifest is valid."""

from pathlib import Path

import pytest
import yaml

from dreambooth_api.dreamboothscene import DreamBoothSceneSpec
from dreambooth_api.job import DreamBoothJobSpec
from dreambooth_api.runtime import DreamBoothRuntimeSpec
from tests.cluster.images import INGREDIENTS
from tests.docs.written import Block, blocks, commands

SPECS = {
    "DreamBoothJob": DreamBoothJobSpec,
    "DreamBoothScene": DreamBoothSceneSpec,
    "DreamBoothRuntime": DreamBoothRuntimeSpec,
}
LAPTOP, CLUSTER = "tests/docs/test_laptop.py", "tests/e2e/test_docs.py"
TYPED_BY = {
    "README.md": {
        **dict.fromkeys(("make", "source", "dreambooth", "torchrun"), LAPTOP),
        **dict.fromkeys(("helm", "kubectl"), CLUSTER),
    },
    "docs/commands.md": {"dreambooth": CLUSTER},
    "docs/api-policy.md": {"kubectl": "tests/operator/test_crd.py"},
    "docs/install.md": {"helm": CLUSTER, "kubectl": CLUSTER, "docker": "tests/cluster/images.py"},
    "docs/gitops.md": {"kubectl": "tests/gitops"},
    "docs/models.md": {"dreambooth": "tests/cli/test_plan.py"},
    "docs/monitoring.md": {"helm": CLUSTER, "tensorboard": "tests/trainer/monitoring/test_trackers.py"},
    "docs/scenes.md": {"dreambooth": LAPTOP, "kubectl": CLUSTER},
    "docs/ui.md": {"dreambooth": "tests/ui/browser.py"},
    "docs/tenancy.md": {"kubectl": "tests/operator/test_deleted.py and test_runtimes.py"},
    "charts/dreambooth-operator/README.md": {"helm": CLUSTER},
    # The recipe of the embedded model takes an hour on a GPU; its tests run each program with small inputs.
    "trainer_image/emoji_recipe/README.md": dict.fromkeys(("npm", "pip", "cd", "python"), "tests/emoji_recipe"),
}
"""The tests that run the commands of a page, by their first word."""


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: str(block.page))
def test_every_command_is_run_by_a_test(block: Block) -> None:
    assert {command.split()[0] for command in block.commands} <= TYPED_BY[str(block.page)].keys()


def test_the_commands_in_the_chart_s_readme_are_tested() -> None:
    typed = commands(Path("README.md"), Path("docs/install.md"))
    assert set(commands(Path("charts/dreambooth-operator/README.md"))) <= set(typed)


def test_images_are_built_from_targets_that_the_tests_build() -> None:
    built = {command.split("--target ")[1].split()[0] for command in commands() if command.startswith("docker build")}
    assert built == INGREDIENTS.keys()


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: str(block.page))
def test_every_manifest_can_be_read(block: Block) -> None:
    for document in yaml.safe_load_all(block.text):
        if document.get("kind") in SPECS:
            SPECS[document["kind"]].model_validate(document["spec"])
