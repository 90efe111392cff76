"""How the API server is reached: address, credentials, proxy. Used by `client.py` and, for kopf's own client, `watches.py`."""

import os
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import client, config


async def load_configuration(context: str | None = None) -> client.Configuration:
    """Address and credentials from `KUBECONFIG` if it is set, else from the pod, else from `~/.kube/config`.

    Args:
        context: the context of the kubeconfig, which is then read even in a pod. Default: its current one.
    """
    configuration = client.Configuration()
    in_cluster = False
    if not context and not os.environ.get("KUBECONFIG"):
        with suppress(config.ConfigException):
            config.load_incluster_config(client_configuration=configuration)
            in_cluster = True
    if not in_cluster:
        loader = await config.load_kube_config(
            os.environ.get("KUBECONFIG"), context=context, client_configuration=configuration
        )
        # Credentials of plugins expire, some after minutes; the loader asks for others only then.
        configuration.refresh_api_key_hook = loader.load_and_set
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    # Otherwise, aiohttp reads the proxy from the environment and the file .netrc in a thread for every request.
    configuration.client_session_kwargs = {"trust_env": False}
    return configuration


def _proxy(host: str) -> str | None:
    """The proxy for an address, by the variables HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""
    address = urlsplit(host)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)
