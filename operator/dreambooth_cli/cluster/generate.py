"""`dreambooth generate NAME`: pictures of a DreamBoothJob of a cluster, generated there and copied to this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from dreambooth_cli.cluster.fetch import copied, default_folder
from dreambooth_cli.cluster.options import in_cluster, target_or_exit
from dreambooth_cli.cluster.outcome import exit_with
from dreambooth_cli.cluster.watch import follow
from dreambooth_cli.output import complain, say

if TYPE_CHECKING:
    from dreambooth_api.scene import Scene
    from dreambooth_client.cluster.session import Session
    from dreambooth_client.seen import Seen


def generate_in_cluster(
    name: str, scene: "Scene", output: Path | None, context: str | None, namespace: str | None
) -> NoReturn:
    """Creates a DreamBoothScene, waits for its end, copies its pictures and prints their paths.

    Args:
        name: the DreamBoothJob.
        scene: what to generate.
        output: folder of the pictures; None: that of the scene in the folder of the run.
        context: context of the kubeconfig.
        namespace: the namespace.
    """
    target = target_or_exit(name)

    async def work(session: "Session") -> tuple["Seen", Path | None]:
        from dreambooth_client.cluster.scenes import scene_manifest
        from dreambooth_client.cluster.workloads import read
        from dreambooth_client.scenes import scene_name
        from dreambooth_client.seen import Seen

        job = await read(session, target)
        manifest = scene_manifest(job, scene_name(target.name), scene)
        seen = Seen(await session.cluster.create(manifest))
        complain(f"{seen.target} is created; if this command ends, it goes on in the cluster")
        seen = await follow(session, seen.target)
        if seen.phase != "Complete":
            return seen, None
        return seen, await copied(session, seen, output or default_folder(seen), ())

    seen, folder = in_cluster(context, namespace, work)
    if folder is None:
        exit_with(seen, context, namespace)
    for picture in sorted(folder.glob("*.png")):
        say(picture)
    raise typer.Exit
