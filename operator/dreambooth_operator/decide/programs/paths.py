"""All paths inside the pods.

/config             the settings
/input/photos       photos from a ConfigMap or an image; those of one of several subjects are in /input/photos-NAME
/input/class-images own class images from a ConfigMap or an image
/input/claims/NAME  a claim with photos, class images or models
/output             the claim for the output; the run or the scene has a folder in it
/input/run          the claim with the run whose model generates a scene
/cache              the claim for the cache, if there is one
/etc/ca-bundle      certificates of authorities
/tmp                temporary files and the home directory
/dev/shm            shared memory for the processes of a pod
"""

CONFIG = "/config"
OUTPUT = "/output"
RUN = "/input/run"
CACHE = "/cache"
CA_FOLDER = "/etc/ca-bundle"
CA_FILE = f"{CA_FOLDER}/ca.crt"
CLAIM_SCHEME = "pvc://"


def mounted_claim(claim: str) -> str:
    """Where a claim that is only read is mounted."""
    return f"/input/claims/{claim}"


def mounted_pictures(name: str) -> str:
    """Where pictures from a ConfigMap or an image are mounted, by the name of their volume."""
    return f"/input/{name}"
