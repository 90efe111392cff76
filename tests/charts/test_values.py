"""The schema and the table of values match values.yaml, and Helm rejects other values."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from charts import values
from charts.values import README, SCHEMA, VALUES, CommentMissing, read_values, schema_of, table_of, with_table
from dreambooth_operator.settings import PREFIX, settings_from
from tests.charts.conftest import Helm
from tests.charts.rendered import CHART, Objects, of_kind

Render = Callable[[Mapping[str, Any]], Objects]


def test_the_committed_files_match_the_comments() -> None:
    read = read_values(VALUES.read_text())
    assert SCHEMA.read_text() == json.dumps(schema_of(read), indent=2) + "\n", "run: make chart"
    assert README.read_text() == with_table(README.read_text(), table_of(read)), "run: make chart"


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"replica": 3}, "", "additional properties 'replica' not allowed"),
        ({"image": {"tags": "1"}}, "/image", "additional properties 'tags' not allowed"),
        ({"image": None}, "", "missing property 'image'"),
        ({"image": {"digest": "latest"}}, "/image/digest", "does not match pattern"),
        ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy", "must be one of"),
        ({"replicaCount": "two"}, "/replicaCount", "got string, want integer"),
        ({"replicaCount": 0}, "/replicaCount", "minimum: got 0, want 1"),
        ({"namespaces": "team"}, "/namespaces", "got string, want array"),
        ({"networkPolicies": {"apiServerPorts": []}}, "/networkPolicies/apiServerPorts", "minItems"),
        ({"settings": {"pollSecond": 1}}, "/settings", "additional properties 'pollSecond' not allowed"),
        ({"settings": {"namespace": "other"}}, "/settings", "additional properties 'namespace' not allowed"),
        ({"settings": {"workers": 0}}, "/settings/workers", "minimum: got 0, want 1"),
        ({"settings": {"logLevel": "LOUD"}}, "/settings/logLevel", "must be one of"),
        ({"fullnameOverride": "My Name"}, "/fullnameOverride", "does not match pattern"),
        ({"commonLabels": {"app.kubernetes.io/name": "x"}}, "/commonLabels/app.kubernetes.io~1name", "false"),
        ({"podLabels": {"helm.sh/chart": "x"}}, "/podLabels/helm.sh~1chart", "false"),
        ({"extraEnv": [{"name": "DREAMBOOTH_PORT", "value": "1"}]}, "/extraEnv/0/name", "'not' failed"),
    ],
)
def test_values_outside_of_the_schema_are_rejected(given: dict[str, Any], place: str, words: str, helm: Helm) -> None:
    ended = helm("template", str(CHART), "--values", "-", stdin=json.dumps(given))
    assert ended.returncode != 0
    assert f"at '{place}'" in ended.stderr
    assert words in ended.stderr


def test_a_policy_needs_the_port_of_trainers(helm: Helm) -> None:
    ended = helm("template", str(CHART), "--set", "settings.trainerPort=null")
    assert "settings.trainerPort must be given" in ended.stderr


def test_each_setting_reaches_the_operator(render: Render) -> None:
    given: dict[str, Any] = {
        "imagePullSecrets": ["a", "b"],
        "allowedImages": ["registry/*", "other:1"],
        "tokenSecretNames": ["hub"],
        "trainerPort": 9000,
        "hubNetworks": ["1.2.0.0/16"],
        "hubPorts": [443, 3128],
        "leaseSeconds": 20,
        "logFormat": "plain",
        "logLevel": "DEBUG",
        "workers": 3,
        "resyncSeconds": 1_000_000,
        "pollSeconds": 0.25,
        "pollsAtOnce": 7,
        "pollTimeoutSeconds": 1.5,
        "statusWritesPerSecond": 2,
    }
    settings = schema_of(read_values(VALUES.read_text()))["properties"]["settings"]["properties"]
    assert set(settings) >= set(given)
    dns = {"namespaces": ["kube-system"], "networks": ["169.254.20.10/32"]}
    policies = {"enabled": False, "monitoringNamespaces": ["one", "two"], "dns": dns}
    objects = render({"settings": given, "namespaces": ["team"], "networkPolicies": policies})
    (deployment,) = of_kind(objects, "Deployment")
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    # Set by the kubelet.
    environment = {one["name"]: one.get("value", "filled-in") for one in container["env"]}
    read = settings_from(environment)
    values = read.model_dump(mode="json")
    assert {name: values[name] for name in map(_snake, given)} == {_snake(name): value for name, value in given.items()}
    assert (read.namespaces, read.network_policies, read.monitoring_namespaces) == (["team"], False, ["one", "two"])
    assert (read.dns_namespaces, [*map(str, read.dns_networks)]) == (dns["namespaces"], dns["networks"])
    assert environment.keys() >= {f"{PREFIX}{name}" for name in ("IDENTITY", "NAMESPACE", "LEASE_NAME")}


def test_namespaces_have_names_or_a_selector(render: Render, helm: Helm) -> None:
    objects = render({"namespaceSelector": "team in (a, b)"})
    (deployment,) = of_kind(objects, "Deployment")
    environment = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "DREAMBOOTH_NAMESPACE_SELECTOR", "value": "team in (a, b)"} in environment
    both = {"namespaceSelector": "team=a", "namespaces": ["b"]}
    ended = helm("template", str(CHART), "--values", "-", stdin=json.dumps(both))
    assert ended.returncode != 0
    assert "namespaces and namespaceSelector can't be combined: set one of them" in ended.stderr


def test_a_value_without_a_comment_is_an_error() -> None:
    with pytest.raises(CommentMissing, match=r"image\.tag of values\.yaml has no comment"):
        read_values("# An image.\nimage:\n  # Its name.\n  name: a\n  tag: b\n")


def test_a_section_is_closed_and_a_mapping_with_a_schema_is_not() -> None:
    text = (
        "# A section.\nsection:\n  # In it,\n  # on two lines.\n  inner: 1\n"
        "# Free.\n# schema: {additionalProperties: {type: string}}\nfree:\n  a: b\n"
    )
    properties = schema_of(read_values(text))["properties"]
    assert properties["section"] == {
        "description": "A section.",
        "type": "object",
        "additionalProperties": False,
        "required": ["inner"],
        "properties": {"inner": {"description": "In it, on two lines.", "type": "integer", "default": 1}},
    }
    assert properties["free"] == {
        "description": "Free.",
        "type": "object",
        "default": {"a": "b"},
        "additionalProperties": {"type": "string"},
    }


def test_the_table_has_a_row_for_each_value_section_and_setting() -> None:
    text = "# A section.\nsection:\n  # A | B.\n  # schema: {enum: [a, b]}\n  inner: a\n# Set.\nsettings:\n  trainerPort: 1234\n"
    rows = table_of(read_values(text)).splitlines()
    assert rows[2:4] == ["| `section` |  |  | A section. |", '| `section.inner` | `a`, `b` | `"a"` | A &#124; B. |']
    assert (
        "| `settings.trainerPort` | integer | `1234` | Port of `/progress`, `/metrics` and `/healthz` in trainer pods. |"
        in rows
    )


def test_only_the_table_of_the_readme_is_replaced() -> None:
    readme = f"above\n{values.BEGIN}old\n{values.END}below\n"
    assert with_table(with_table(readme, "1\n"), "2\n") == f"above\n{values.BEGIN}\n2\n\n{values.END}below\n"


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
