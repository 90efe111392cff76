"""The control plane: etcd, API server, controller manager, scheduler. Runs as any user."""

import secrets
from collections.abc import Mapping
from pathlib import Path

import trustme
import yaml

from tests.cluster.layout import (
    API_SERVICE,
    AUDIT_LOG,
    KUBECONFIG,
    NODE,
    NODE_ADDRESS,
    POD_CIDR,
    ROOT,
    RUN,
    SERVICE_CIDR,
)
from tests.cluster.processes import Processes, run, succeeds
from tests.patience import PATIENCE
from tests.ports import free_port

USERS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "node": (f"system:node:{NODE}", "system:nodes"),
}
"""User and group of each client, which has a bearer token."""
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
    ],
}
"""Records the used permissions, without request bodies, so that the log has no secrets."""


class ControlPlane:
    """The control plane and its clients' credentials."""

    def __init__(self, processes: Processes, binaries: Path, *, with_node: bool) -> None:
        self._processes = processes
        self._binaries = binaries
        self._address = NODE_ADDRESS if with_node else "127.0.0.1"
        self._port = free_port()
        self._etcd = f"http://127.0.0.1:{free_port()}"
        self._secrets = RUN / "secrets"
        self._tokens = {name: secrets.token_urlsafe() for name in USERS}

    def start(self) -> None:
        """Starts everything and installs the CustomResourceDefinitions.

        Raises:
            NotReady: a part did not come up.
        """
        self._make_secrets()
        for name in USERS:
            self._write_kubeconfig(name)
        (RUN / "audit-policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
        self._start_etcd()
        self.start_api_server()
        self._start_controllers()
        kubectl = self._binaries / "kubectl", f"--kubeconfig={KUBECONFIG}"
        run(*kubectl, "apply", "--server-side", "--filename", ROOT / "crds")
        run(*kubectl, "wait", "--for=condition=Established", "crd", "--all", f"--timeout={PATIENCE}s")

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig of a user."""
        return KUBECONFIG if name == "admin" else RUN / f"{name}.kubeconfig"

    @property
    def certificate_authority(self) -> Path:
        """The certificate of the certificate authority."""
        return self._secrets / "ca.pem"

    def start_api_server(self) -> None:
        """Starts or restarts the API server."""
        folder = self._secrets
        flags = {
            "advertise-address": self._address,
            "allow-privileged": "false",
            "audit-log-path": AUDIT_LOG,
            "audit-policy-file": RUN / "audit-policy.yaml",
            "authorization-mode": "Node,RBAC",
            "bind-address": self._address,
            "client-ca-file": folder / "ca.pem",
            # The second plugin is not enabled by default and requires more permissions; some distributions enable it.
            "enable-admission-plugins": "NodeRestriction,OwnerReferencesPermissionEnforcement",
            "etcd-servers": self._etcd,
            "kubelet-client-certificate": folder / "kubelet-client.pem",
            "kubelet-client-key": folder / "kubelet-client.pem",
            "kubelet-preferred-address-types": "InternalIP",
            "secure-port": self._port,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": folder / "ca.key",
            "service-account-signing-key-file": folder / "ca.key",
            "service-cluster-ip-range": SERVICE_CIDR,
            "tls-cert-file": folder / "server.pem",
            "tls-private-key-file": folder / "server.pem",
            "token-auth-file": folder / "tokens.csv",
        }
        self._start("kube-apiserver", flags)
        ready = self._binaries / "kubectl", f"--kubeconfig={KUBECONFIG}", "get", "--raw", "/readyz"
        self._processes.until("kube-apiserver", lambda: succeeds(*ready), PATIENCE)

    def stop_api_server(self) -> None:
        """Stops the API server."""
        self._processes.stop("kube-apiserver")

    def _start_etcd(self) -> None:
        peers = f"http://127.0.0.1:{free_port()}"
        flags = {
            "advertise-client-urls": self._etcd,
            "data-dir": RUN / "etcd",
            "listen-client-urls": self._etcd,
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"default={peers}",
            "unsafe-no-fsync": "true",
        }
        self._start("etcd", flags)

    def _start_controllers(self) -> None:
        manager = self.kubeconfig("controller-manager")
        flags = {
            "allocate-node-cidrs": "false",
            "cluster-cidr": POD_CIDR,
            "root-ca-file": self.certificate_authority,
            "service-account-private-key-file": self._secrets / "ca.key",
            "use-service-account-credentials": "true",
        }
        self._start("kube-controller-manager", {**flags, **_client(manager)})
        self._start("kube-scheduler", _client(self.kubeconfig("scheduler")))

    def _start(self, name: str, flags: Mapping[str, object]) -> None:
        self._processes.start_with_flags(self._binaries / name, flags)

    def _make_secrets(self) -> None:
        self._secrets.mkdir(parents=True)
        self._secrets.chmod(0o700)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.certificate_authority))
        authority.private_key_pem.write_to_path(str(self._secrets / "ca.key"))
        names = "127.0.0.1", "localhost", NODE_ADDRESS, API_SERVICE, "kubernetes.default.svc"
        server = authority.issue_cert(*names)
        client = authority.issue_cert(
            "kubelet-client", common_name="kubelet-client", organization_name="system:masters"
        )
        for name, certificate in {"server": server, "kubelet-client": client}.items():
            certificate.private_key_and_cert_chain_pem.write_to_path(str(self._secrets / f"{name}.pem"))
        lines = [f'{self._tokens[name]},{user},{name},"{group}"' for name, (user, group) in USERS.items()]
        (self._secrets / "tokens.csv").write_text("\n".join(lines) + "\n")

    def _write_kubeconfig(self, name: str) -> None:
        cluster = {
            "certificate-authority": str(self.certificate_authority),
            "server": f"https://{self._address}:{self._port}",
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": name, "user": {"token": self._tokens[name]}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": name}}],
            "current-context": "test",
        }
        path = self.kubeconfig(name)
        path.touch(0o600)
        path.write_text(yaml.safe_dump(document))


def _client(kubeconfig: Path) -> dict[str, object]:
    """Flags of a controller."""
    return {
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "kubeconfig": kubeconfig,
        "leader-elect": "false",
        "secure-port": free_port(),
        "cert-dir": RUN / "certificates",
    }
