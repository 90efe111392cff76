import asyncio
from unittest.mock import patch

from dreambooth_operator.control.shared_reads import SharedReads
from dreambooth_operator.kube.client import Cluster, ClusterError
from tests.operator.clusters import with_cluster


def test_readers_of_the_same_object_share_a_request(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        metadata = {"name": "photos", "namespace": namespace}
        made = await cluster.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        reads = SharedReads(cluster)
        with patch.object(cluster, "get", wraps=cluster.get) as get:
            names = ["photos"] * 5 + ["others"] * 2
            found = await asyncio.gather(*(reads.get("ConfigMap", namespace, name) for name in names))
            assert [one and one["metadata"]["uid"] for one in found] == [made["metadata"]["uid"]] * 5 + [None] * 2
            assert get.await_count == 2
            assert await reads.get("ConfigMap", namespace, "photos") == found[0]
            assert get.await_count == 3, "an answer is not kept"

    with_cluster(test)


def test_a_reader_that_is_cancelled_leaves_the_request_to_the_others(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        reads = SharedReads(cluster)
        first, second = (asyncio.create_task(reads.get("ConfigMap", namespace, "photos")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second is None

    with_cluster(test)


def test_all_readers_get_the_error(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        reads = SharedReads(cluster)
        with patch.object(cluster, "get", side_effect=ClusterError(503, "not now")):
            both = asyncio.gather(*(reads.get("ConfigMap", namespace, "a") for _ in range(2)), return_exceptions=True)
            assert [str(error) for error in await both] == ["not now (503)"] * 2
        assert await reads.get("ConfigMap", namespace, "a") is None

    with_cluster(test)
