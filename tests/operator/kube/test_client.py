import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dreambooth_operator.kube import client as module
from dreambooth_operator.kube.client import Cluster, ClusterError
from dreambooth_operator.kube.watches import _connection
from dreambooth_operator.objects.observed import Reference
from tests.operator.clusters import applied_job, network, with_cluster

MANAGER = "dreambooth-operator/space/lease"


def config_map(namespace: str, name: str = "settings", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"of": "test"}},
        "data": data,
    }


def failed_mount(namespace: str, name: str, pod: str, message: str, second: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": namespace},
        "reason": "FailedMount",
        "message": message,
        "lastTimestamp": f"2026-01-01T00:00:{second:02}Z",
    }


def test_crds_are_installed(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        assert await cluster.crds_installed()

    with_cluster(test)


def test_a_missing_object_is_none_and_only_the_metadata_of_config_maps_is_read(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        assert await cluster.get("ConfigMap", namespace, "settings") is None
        await cluster.create(config_map(namespace, key="value"))
        found = await cluster.get("ConfigMap", namespace, "settings")
        assert found is not None and found["metadata"]["name"] == "settings"
        assert "data" not in found

    with_cluster(test)


def test_requests_are_reported_with_method_and_code(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        reported: list[tuple[str, str]] = []
        cluster.on_request = lambda method, code, seconds: reported.append((method, code)) if seconds > 0 else None
        await cluster.get("ConfigMap", namespace, "settings")
        await cluster.create(config_map(namespace))
        with pytest.raises(ClusterError):
            await cluster.get("ConfigMap", namespace, "settings", timeout=0.0001)
        assert reported == [("GET", "404"), ("POST", "201"), ("GET", "none")]

    with_cluster(test)


def test_answers_about_single_objects_are_reported(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        answers: list[tuple[float, int]] = []
        cluster.on_answer = lambda begun, status: answers.append((begun, status))
        begun = time.monotonic()
        await cluster.get("ConfigMap", namespace, "settings")
        await cluster.create(config_map(namespace))
        with pytest.raises(ClusterError):
            await cluster.create(config_map(namespace))
        with pytest.raises(ClusterError):
            await cluster.get("ConfigMap", namespace, "settings", timeout=0.0001)
        assert [status for _, status in answers] == [404, 200, 409, 0]
        assert begun <= answers[0][0] < answers[-1][0] <= time.monotonic()
        # Longer lists take more time, which shows no overload.
        await cluster.list("ConfigMap", namespace)
        await cluster.latest_event_message(namespace, "Pod", "dog", "FailedMount")
        assert len(answers) == 4

    with_cluster(test)


def test_apply_takes_over_fields_and_removes_those_that_are_left_out(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.create(config_map(namespace, a="theirs", b="theirs"))
        assert (await cluster.apply(config_map(namespace, a="ours", c="ours")))["data"] == {
            "a": "ours",
            "b": "theirs",
            "c": "ours",
        }
        applied = await cluster.apply(config_map(namespace, a="ours"))
        assert applied["data"] == {"a": "ours", "b": "theirs"}
        again = await cluster.apply(config_map(namespace, a="ours"))
        assert again["metadata"]["resourceVersion"] == applied["metadata"]["resourceVersion"]

    with_cluster(test)


EVERY_CHARACTER = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
STRANGE = "\x00\t\x7f\x80\x85\x9f\xa0\u2028\u2029\ufeff\ufffe\uffff\U0001f436\U0001ffff\U0010ffff"


@pytest.mark.parametrize("text", ["\N{DOG FACE}", *STRANGE, f"# {STRANGE}: '\\\"\n- &a *a !!a <<: %{{"], ids=ascii)
def test_any_character_can_be_applied(namespace: str, text: str) -> None:
    async def test(cluster: Cluster) -> None:
        item = config_map(namespace, first=f"a {text} b", last=text)
        item["metadata"]["annotations"] = {"of": text}
        applied = await cluster.apply(item)
        assert applied["data"] == item["data"]
        assert applied["metadata"]["annotations"] == {"of": text}

    with_cluster(test)


def test_all_characters_can_be_applied_together(namespace: str) -> None:
    parts = [EVERY_CHARACTER[start : start + 100_000] for start in range(0, len(EVERY_CHARACTER), 100_000)]

    async def test(cluster: Cluster) -> None:
        for part in parts:
            assert (await cluster.apply(config_map(namespace, all=part)))["data"] == {"all": part}

    with_cluster(test)


def test_lone_surrogates_are_replaced_as_in_json(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        made = await cluster.create(config_map(namespace, "made", text="a\ud83d b\udc36 \ud83d\udc36"))
        applied = await cluster.apply(config_map(namespace, "applied", text="a\ud83d b\udc36 \ud83d\udc36"))
        assert applied["data"] == made["data"] == {"text": "a\ufffd b\ufffd \N{DOG FACE}"}

    with_cluster(test)


def test_lists_come_in_pages_with_their_kind(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_SIZE", 2)

    async def test(cluster: Cluster) -> None:
        made = [await cluster.create(config_map(namespace, f"settings-{number}")) for number in range(5)]
        items, version = await cluster.list("ConfigMap", namespace, labels="of")
        assert [item["metadata"]["name"] for item in items] == [item["metadata"]["name"] for item in made]
        assert {(item["apiVersion"], item["kind"]) for item in items} == {("v1", "ConfigMap")}
        assert version >= int(made[-1]["metadata"]["resourceVersion"])
        everywhere, _ = await cluster.list("ConfigMap", None, labels="of=test")
        assert len(everywhere) >= 5

    with_cluster(test)


def test_a_status_is_replaced_as_a_whole_and_nothing_else_is_written(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        job = await cluster.create(applied_job(namespace))
        first = await cluster.write_status(job, {"phase": "Pending", "message": "waits", "failures": 1}, MANAGER)
        assert first["status"] == {"phase": "Pending", "message": "waits", "failures": 1}
        assert first["spec"] == job["spec"]
        second = await cluster.write_status(first, {"phase": "Running"}, MANAGER)
        assert second["status"] == {"phase": "Running"}
        assert second["metadata"]["generation"] == job["metadata"]["generation"]

    with_cluster(test)


def test_a_status_from_an_outdated_object_is_not_written(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        job = await cluster.create(applied_job(namespace))
        changed = await cluster.replace({**job, "spec": {**job["spec"], "suspend": True}})
        with pytest.raises(ClusterError) as caught:
            await cluster.write_status(job, {"phase": "Running"}, MANAGER)
        assert caught.value.status == 409 and not caught.value.permanent
        assert await cluster.get("DreamBoothJob", namespace, "dog") == changed

    with_cluster(test)


def test_only_the_object_with_the_uid_is_deleted(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        made = await cluster.create(config_map(namespace))
        settings = Reference("ConfigMap", "settings")
        await cluster.delete(settings, namespace, uid="another")
        assert await cluster.get("ConfigMap", namespace, "settings") is not None
        await cluster.delete(settings, namespace, made["metadata"]["uid"])
        await cluster.delete(settings, namespace, made["metadata"]["uid"])
        await cluster.delete(Reference("ConfigMap", "never-was"), namespace, None)

    with_cluster(test)


def test_the_message_of_the_latest_event(namespace: str) -> None:
    async def test(cluster: Cluster) -> None:
        assert await cluster.latest_event_message(namespace, "Pod", "dog-0-0", "FailedMount") is None
        for event in [
            failed_mount(namespace, "a", "dog-0-0", "older", 10),
            failed_mount(namespace, "b", "dog-0-0", "latest", 30),
            failed_mount(namespace, "c", "dog-0-0", "middle", 20),
            failed_mount(namespace, "d", "cat-0-0", "of another", 40),
        ]:
            await cluster.create(event)
        assert await cluster.latest_event_message(namespace, "Pod", "dog-0-0", "FailedMount") == "latest"
        for second, expected in {30: "latest", 31: None}.items():
            since = datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC)
            assert await cluster.latest_event_message(namespace, "Pod", "dog-0-0", "FailedMount", since) == expected

    with_cluster(test)


@pytest.mark.parametrize(
    ("item", "status", "words"),
    [
        ({"kind": "ConfigMap", "metadata": {"name": "Not A Name"}}, 422, "Invalid value"),
        ({"kind": "Job", "metadata": {"name": "dog"}, "spec": {}}, 422, "spec.template"),
        ({"kind": "ConfigMap", "metadata": {"name": "dog", "namespace": "no-such-namespace"}}, 404, "not found"),
    ],
)
def test_refused_requests_are_permanent_errors(namespace: str, item: dict[str, Any], status: int, words: str) -> None:
    async def test(cluster: Cluster) -> None:
        api_version = "batch/v1" if item["kind"] == "Job" else "v1"
        metadata = {"namespace": namespace, **item["metadata"]}
        with pytest.raises(ClusterError) as caught:
            await cluster.create({"apiVersion": api_version, **item, "metadata": metadata})
        assert caught.value.status == status and caught.value.permanent
        assert words in caught.value.message

    with_cluster(test)


@pytest.mark.parametrize("status", [400, 403, 404, 422])
def test_client_errors_are_permanent(status: int) -> None:
    assert ClusterError(status, "no").permanent


@pytest.mark.parametrize("status", [0, 401, 408, 409, 429, 500, 503])
def test_transient_errors_are_not_permanent(status: int) -> None:
    assert not ClusterError(status, "no").permanent


def test_an_unavailable_or_hanging_server_is_an_error_within_the_timeout(
    kubeconfig: Path, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        async with network(kubeconfig, tmp_path) as (wire, path):
            monkeypatch.setenv("KUBECONFIG", str(path))
            cluster = await Cluster.connect()
            assert await cluster.get("ConfigMap", namespace, "settings") is None
            wire.hang()
            with pytest.raises(ClusterError, match=r"no response within 0\.5 s"):
                await cluster.get("ConfigMap", namespace, "settings", timeout=0.5)
            wire.heal()
            wire.break_off()
            with pytest.raises(ClusterError) as caught:
                await cluster.get("ConfigMap", namespace, "settings")
            assert caught.value.status == 0
            wire.heal()
            assert await cluster.get("ConfigMap", namespace, "settings") is None
            await cluster.close()

    asyncio.run(test())


def test_credentials_for_other_programs_are_not_used(
    namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password secret")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def test(cluster: Cluster) -> None:
        assert await cluster.get("ConfigMap", namespace, "settings") is None

    with_cluster(test)


def test_the_proxy_of_the_environment_is_used_except_for_excluded_hosts(
    namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async def test() -> None:
        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "elsewhere.example")
        proxied = await Cluster.connect()
        with pytest.raises(ClusterError):
            await proxied.get("ConfigMap", namespace, "settings")
        address = proxied.configuration.host.removeprefix("https://")
        assert [line.split()[:2] for line in asked] == [[b"CONNECT", address.encode()]]
        assert (await _connection(proxied, 0)).proxy_url == proxied.configuration.proxy
        await proxied.close()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        direct = await Cluster.connect()
        assert await direct.get("ConfigMap", namespace, "settings") is None
        await direct.close()
        server.close()

    asyncio.run(test())


def test_pages_of_large_objects_stay_small(namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_BYTES", 1_000_000)
    lengths: list[tuple[int, int]] = []
    original = Cluster._request_page

    async def measured(self: Cluster, path: str, query: dict[str, str], most: int | None) -> tuple[int, Any]:
        length, page = await original(self, path, query, most)
        lengths.append((length, len(page["items"])))
        return length, page

    monkeypatch.setattr(Cluster, "_request_page", measured)

    async def test(cluster: Cluster) -> None:
        for number in range(45):
            await cluster.create(config_map(namespace, f"small-{number:02}"))
        for number in range(12):
            await cluster.create(config_map(namespace, f"very-large-{number:02}", key="x" * 700_000))
        items, _ = await cluster.list(
            "ConfigMap", namespace, "of=test", lambda item: {"name": item["metadata"]["name"]}
        )
        assert len({item["name"] for item in items}) == 57
        assert max(length for length, _ in lengths) < 1_000_000
        assert lengths[0][1] == module.FIRST_PAGE_SIZE and lengths[-1][1] == 1

    with_cluster(test)
