"""The training sections of a `DreamBoothJob`: every hyper-parameter with its bounds, default and description.

Read by the trainer (as TrainConfig JSON), by the command line (as the `spec` of a manifest) and by the operator, whose CRD
embeds these very models. Pydantic only: importing this module must stay possible without torch.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from dreambooth_api.prompts import ANY_SUBJECT, placeholders
from dreambooth_api.schedulers import Scheduler

DEFAULT_LEARNING_RATE = {"full": 5e-6, "lora": 1e-4}
"""Learning rate where none is given, by method: for `full` that of the DreamBooth paper for Stable Diffusion
(arXiv:2208.12242, section 4), for `lora` the one that diffusers documents for its DreamBooth LoRA script."""

SUBJECT_NAME = "[a-z]([-a-z0-9]*[a-z0-9])?"
"""A label of RFC 1035."""
SubjectName = Annotated[str, Field(min_length=1, max_length=40, pattern=f"^{SUBJECT_NAME}$")]
LONGEST_PROMPT = 500
Prompt = Annotated[str, Field(min_length=1, max_length=LONGEST_PROMPT)]
Word = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\s{}][^{}\n]*$")]
SUBDOMAIN = "[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
"""Labels of RFC 1123, joined by dots: the form of most names in Kubernetes."""
ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=f"^{SUBDOMAIN}$")]
"""Name of an object of Kubernetes (RFC 1123 subdomain)."""
SecretKey = Annotated[
    str, Field(min_length=1, max_length=253, pattern=r"^([-_a-zA-Z0-9]|\.[-_a-zA-Z0-9])[-._a-zA-Z0-9]*$")
]
"""Key of a Secret: a file name, but neither `.` nor one that begins with `..`."""


class Section(BaseModel):
    """A closed section of the manifest: camelCase outside, unknown fields are refused, values are immutable."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


EMBEDDED_MODELS = ("emoji",)
"""Models that ship with the trainer, by their name in `embedded://NAME`."""


FOLDER_SCHEMES = ("embedded://", "hf://")
"""Schemes of models that are folders with a configuration of their own."""
SINGLE_FILE = ".safetensors"
"""End of the path of a single-file checkpoint."""


class TokenSecret(Section):
    """A key of a Secret of the same namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: SecretKey = "token"
    """Key of the token in it."""


class Model(Section):
    """The base model to personalise."""

    source: Annotated[str, Field(min_length=1, max_length=1024)]
    """`embedded://emoji` (shipped with the trainer), `hf://organisation/name` (a hub repository), `pvc://claim/path` (on a
    PersistentVolumeClaim of the same namespace; cluster only), or the path of a diffusers folder or of a single-file
    checkpoint (.safetensors; command line only)."""
    revision: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Branch, tag or commit of a hub repository; the result records the commit. Default: the
    repository's main branch."""
    variant: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,30}$")] | None = None
    """Variant of the weight files, for example `fp16`. Default: the files without one."""
    config: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """For a single-file checkpoint: the hub repository (`organisation/name`), the folder (command line only) or the
    `pvc://claim/path` (cluster only) with its configuration and tokenizer. Default: the configuration that diffusers
    infers from the weights, fetched from the hub."""
    token_secret: TokenSecret | None = None
    """The hub's token, for gated or private repositories (cluster only; the command line takes it from the environment
    variable `HF_TOKEN`). Default: none."""


MOST_CONFIG_MAPS = 20
"""Most ConfigMaps with the pictures of a folder."""


class ConfigMapImages(Section):
    """Pictures in the `binaryData` of a ConfigMap of the same namespace."""

    name: ObjectName
    """Name of the ConfigMap."""


class ClaimImages(Section):
    """Pictures on a PersistentVolumeClaim of the same namespace."""

    claim_name: ObjectName
    """Name of the claim."""
    path: Annotated[str, Field(min_length=1, max_length=1024)] = "."
    """Folder of the pictures inside the volume."""


class OciImages(Section):
    """Pictures in an OCI image, which the node mounts as a volume."""

    reference: Annotated[str, Field(min_length=1, max_length=500)]
    """Image, as in `registry/name:tag` or `registry/name@sha256:...`."""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    """When nodes pull it."""
    path: Annotated[str, Field(min_length=1, max_length=1024)] = "."
    """Folder of the pictures inside the image."""


class Images(Section):
    """Where pictures are: exactly one of the sources."""

    path: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Folder of the pictures, relative to the manifest (command line only)."""
    config_map: ConfigMapImages | None = None
    """A ConfigMap whose `binaryData` holds the pictures. The command line reads it from the same file."""
    config_maps: Annotated[list[ConfigMapImages], Field(min_length=1, max_length=MOST_CONFIG_MAPS)] | None = None
    """ConfigMaps whose files are in one folder together, for pictures that don't fit into one ConfigMap, which has 1 MiB. No
    two of them may have a file of the same name."""
    persistent_volume_claim: ClaimImages | None = None
    """A folder of a PersistentVolumeClaim (cluster only)."""
    image: OciImages | None = None
    """A folder of an OCI image (cluster only)."""

    @property
    def in_config_maps(self) -> dict[str, str]:
        """The names of all ConfigMaps with pictures, by the fields that name them."""
        several = {f"configMaps[{number}].name": one.name for number, one in enumerate(self.config_maps or ())}
        return several | ({"configMap.name": self.config_map.name} if self.config_map else {})


class Subject(Section):
    """A subject that the model learns."""

    class_: Annotated[Word, Field(alias="class")]
    """The coarse class noun that the subject belongs to, in the base model's words: `dog`, `backpack`, `toy`."""
    identifier: Annotated[str, Field(max_length=40, pattern=r"^(auto|[^\s{}]{1,40})$")] = "auto"
    """The rare word that names this subject; `auto` picks a rare token of the base model's tokenizer."""
    images: Images
    """The photos: three to five are the usual number."""
    prompt: Prompt = "a {identifier} {class}"
    """Prompt of the photos that have no caption."""
    captions: Annotated[dict[str, Prompt], Field(max_length=100)] = {}
    """Prompts of single photos, by the names of their files: what else they show, so that this is not learned as a part
    of the subject. Captions can also be next to the photos, as `photo.txt` or in a `metadata.jsonl`."""
    caption_dropout: Annotated[float, Field(ge=0, lt=1)] = 0
    """Share of the training in which a photo has `prompt` instead of its caption, so that the identifier does not depend
    on the words of the captions."""
    crop: Literal["center", "none"] = "center"
    """How photos become training pictures. `center`: the middle square. `none`: nearly the whole photo, in one of the
    sizes (aspect-ratio buckets) with about the area of that square. The class images have the same sizes."""
    mask: Literal["ignore", "loss"] = "ignore"
    """Use of masks: of transparent parts of photos, and of pictures `photo.mask.png`, which are white where the subject
    is. `loss`: they weight the loss of their photos, so that the background is not learned. Grey counts in part."""

    @property
    def called(self) -> str:
        """Its name among several subjects; empty for the only one of a run."""
        return ""


class NamedSubject(Subject):
    """One of several subjects that the model learns."""

    name: SubjectName
    """Name of the subject in prompts, folders, figures and messages: lower-case letters, digits and hyphens, a letter
    first. In a prompt, `{rex}` stands for the identifier and the class of the subject `rex`."""

    @property
    def called(self) -> str:
        """Its name."""
        return self.name


MOST_SUBJECTS = 8
"""Subjects of a run."""

DenoisingSteps = Annotated[int, Field(ge=1, le=1000)]
GuidanceScale = Annotated[float, Field(ge=1, le=50)]


class Sampler(Section):
    """How a diffusion model generates pictures."""

    scheduler: Scheduler = "ddpm"
    """`ddpm` and `euler-ancestral` sample ancestrally (fresh noise at each step); `ddim` and `dpm-solver++` do not."""
    steps: DenoisingSteps = 25
    """Denoising steps for a picture."""
    guidance_scale: GuidanceScale = 1.0
    """Classifier-free guidance scale. At 1 the pictures follow the model's own distribution of the class, and each
    step takes half the time."""


class Prior(Section):
    """Prior preservation: the frozen base model's own pictures of the class, learned together with the photos."""

    enabled: bool = True
    """Whether to train with the prior-preservation loss."""
    weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    """Weight of the class loss (lambda of the paper)."""
    images: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Number of class images, for each class of the subjects."""
    prompt: Prompt = "a {class}"
    """Prompt of the class images."""
    source: Images | None = None
    """Own pictures of the class, which are used instead of generated ones with `prompt`. If there are fewer than needed, the
    others are generated. The share with the empty prompt is always generated. All subjects must have one class. Default:
    none."""
    unconditional_share: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    """Share of the images that are generated, and learned, with the empty prompt. They preserve the unconditional
    prediction, which classifier-free guidance uses, and what the model knows about other classes."""
    target: Literal["prediction", "noise"] = "prediction"
    """Target of the class loss. `noise`: the noise that was added, as in the paper. `prediction`: the prediction of the
    frozen base model for the same noisy image. On average that is the noise, since the images are the model's own, so the
    optimum is the same and the variance far lower."""
    noisings: Annotated[int, Field(ge=1, le=1000)] = 4
    """Noisy versions of each class image, each with its prediction; used when `target` is `prediction`."""
    other_words: Annotated[int, Field(ge=0, le=1000)] = 256
    """Words of the base model's vocabulary that replace the class in `prompt`; half of the noisy versions of empty-prompt
    images use such a prompt, so that these words keep their meaning too. Used when
    `target` is `prediction`."""
    sampler: Sampler = Sampler()
    """How the class images are generated."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 16
    """Class images generated at once on each device."""

    @property
    def unconditional_images(self) -> int:
        """Number of images that are generated with the empty prompt."""
        return round(self.images * self.unconditional_share)

    @property
    def conditional_images(self) -> int:
        """Number of images with the prompt: own and generated ones."""
        return self.images - self.unconditional_images


class Optimizer(Section):
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101)."""

    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Decay of the first moment."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Decay of the second moment."""
    epsilon: Annotated[float, Field(gt=0, le=1)] = 1e-8
    """Added to the denominator."""
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.01
    """Decoupled weight decay."""


class Ema(Section):
    """Exponential moving average of the trained weights; when enabled, the average is what is exported."""

    enabled: bool = False
    """Whether to keep and export the average."""
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the old average that each step keeps, lower in the first steps: min(decay, (1 + step) / (10 + step))."""


class Lora(Section):
    """Low-rank adapters (Hu et al., arXiv:2106.09685); used when `method` is `lora`."""

    rank: Annotated[int, Field(ge=1, le=512)] = 16
    """Rank of the update of each adapted layer."""
    alpha: Annotated[float, Field(gt=0, le=1024)] | None = None
    """Scale of the update: alpha / rank. Default: the rank, a scale of 1."""
    targets: Annotated[list[Word], Field(min_length=1, max_length=30)] = ["to_q", "to_k", "to_v", "to_out.0"]
    """The denoiser's layers to adapt. A name matches every layer whose path ends with it; `attention` is all layers of the
    attention blocks, `attention+ff` also those of the feed-forward blocks."""
    use_dora: bool = False
    """Whether the adapters learn the magnitude of the weights apart from their direction (DoRA: Liu et al.,
    arXiv:2402.09353). Each step takes longer. Not for text encoders, and not for the format `comfyui`."""


Quantization = Literal["none", "int8", "nf4"]


class Training(Section):
    """The fine-tuning itself."""

    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 400
    """Optimizer steps."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate of the denoiser. Default: 5e-6 for `full`, 1e-4 for `lora`."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 1
    """Photos in a batch; as many class images are added. The devices divide each optimizer step among themselves, and
    none computes more photos at once."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1024)] = 1
    """Batches in one optimizer step. Their photos are rounded up to a multiple of the number of devices."""
    resolution: Annotated[int, Field(ge=64, le=2048, multiple_of=8)] | None = None
    """Side of the square training pictures in pixels; with `subject.crop: none`, pictures of other shapes have about its
    area. Default: the base model's own."""
    mixed_precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the denoiser's arithmetic; master weights stay float32. `auto`: bf16 where the device computes it
    faster than float32 (GPUs since Ampere, CPUs with AMX), else fp32. With fp32, nothing is rounded to TF32."""
    train_text_encoder: bool = False
    """Whether to train the text encoder too: higher fidelity for more memory."""
    text_encoder_learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
    """Peak learning rate of the text encoder. Default: the denoiser's."""
    optimizer: Optimizer = Optimizer()
    """Settings of AdamW."""
    lr_scheduler: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate schedule after the warm-up; `linear` and `cosine` end at zero."""
    warmup_steps: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Steps over which the learning rate rises from zero."""
    max_grad_norm: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Global norm to which larger gradients are clipped."""
    min_snr_gamma: Annotated[float, Field(gt=0, le=100)] | None = None
    """Weights each timestep's loss by min(SNR, gamma) (Hang et al., arXiv:2303.09556); 5 is usual. Default: equal
    weights."""
    ema: Ema = Ema()
    """Averaging of the weights."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all randomness in the run."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third more time."""
    stopping: Literal["last", "best"] = "last"
    """The step whose weights become the model. `best`: all steps are trained, and then the weights after two, three
    and four quarters of them are compared by figures of the evaluation. Of those whose PRES, DIV and FOLLOW are within bounds,
    the first is chosen whose SUBJ is within .01 of the highest. With several subjects, the figures of the weakest one count.
    Until then, the weights take 12 bytes for each trained parameter."""
    method: Literal["full", "lora"] = "full"
    """`full` trains all weights of the denoiser, `lora` trains low-rank adapters of it."""
    lora: Lora = Lora()
    """Settings of the adapters."""
    quantization: Quantization = "none"
    """How the frozen weights of the denoiser's linear layers are stored, from which `lora` learns: `int8` takes a byte for each
    weight, `nf4` (QLoRA: Dettmers et al., arXiv:2305.14314) about half a byte. With both, large text encoders take a byte for
    each weight. All pictures of the run come from these weights; the exported model has those of the base model."""

    @property
    def denoiser_learning_rate(self) -> float:
        """Peak learning rate of the denoiser, the method's default where none is given."""
        return self.learning_rate or DEFAULT_LEARNING_RATE[self.method]

    @property
    def encoder_learning_rate(self) -> float:
        """Peak learning rate of the text encoder, the denoiser's where none is given."""
        return self.text_encoder_learning_rate or self.denoiser_learning_rate


class Offload(Section):
    """What DeepSpeed keeps in host memory instead of device memory."""

    optimizer: bool = False
    """Optimizer states (ZeRO stage 1 or higher)."""
    parameters: bool = False
    """Parameters (ZeRO stage 3)."""


class DeepSpeed(Section):
    """How DeepSpeed shards the training (ZeRO: Rajbhandari et al., arXiv:1910.02054)."""

    zero_stage: Literal["auto", 0, 1, 2, 3] = "auto"
    """What is sharded over the devices: 0 nothing, 1 optimizer states, 2 also gradients, 3 also parameters. `auto`: the
    lowest stage that fits the device's memory."""
    offload: Offload = Offload()
    """Offloading to the host's memory."""


class Checkpoints(Section):
    """Training states from which an interrupted run resumes."""

    interval_seconds: Annotated[int, Field(ge=0, le=86_400)] = 600
    """Least seconds from one checkpoint to the next. A run that is killed loses about as much time. A checkpoint has 12
    bytes for each trained parameter, 16 with `ema`. 0: a checkpoint begins as soon as the one before is written."""
    keep: Annotated[int, Field(ge=1, le=100)] = 2
    """Number of newest checkpoints to keep."""
    keep_last: bool = False
    """Whether the state after the last step is kept when the run has finished, as one more checkpoint. Such a run can
    continue with more `training.steps`, and can be exported in other formats without training again."""


class Samples(Section):
    """Pictures of the subject in new scenes, generated with the same seeds before and after training."""

    prompts: Annotated[list[Prompt], Field(max_length=50)] = [
        "a {identifier} {class}",
        "a {identifier} {class} on the beach",
        "a {identifier} {class} in the snow",
        "a {identifier} {class} on a purple background",
    ]
    """Prompts of the pictures. With several subjects, `{name}` stands for the identifier and the class of the subject of that
    name, and a prompt with `{identifier}` or `{class}` is used for each subject."""
    per_prompt: Annotated[int, Field(ge=1, le=64)] = 4
    """Pictures of each prompt."""
    scheduler: Scheduler = "dpm-solver++"
    """See `prior.sampler.scheduler`."""
    steps: DenoisingSteps = 20
    """Denoising steps for a picture."""
    guidance_scale: GuidanceScale = 5.0
    """Classifier-free guidance scale; for a model that was distilled for guidance, the scale that it takes as an
    input."""
    every_steps: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Steps between pictures during the training, one of each prompt; 0: none."""


class Evaluation(Section):
    """Figures of fidelity, preservation, diversity and prompt following, computed with a CLIP model."""

    enabled: bool = True
    """Whether to evaluate."""
    encoder: Annotated[str, Field(min_length=1, max_length=1024)] = "embedded://emoji"
    """The CLIP model, named as `model.source` is."""
    contexts: Annotated[list[Word], Field(min_length=2, max_length=50)] = [
        "on the beach",
        "in the grass",
        "in the snow",
        "at night",
        "on a red background",
        "on a blue background",
        "on a yellow background",
        "on a black background",
    ]
    """Backgrounds and scenes in which the subject is generated."""
    other_classes: Annotated[list[Word], Field(min_length=2, max_length=50)] = [
        "cat",
        "bird",
        "car",
        "flower",
        "tree",
        "shoe",
        "guitar",
        "train",
    ]
    """Classes that the training must not change; the classes of the subjects are left out."""
    per_prompt: Annotated[int, Field(ge=2, le=256)] = 4
    """Pictures of each prompt."""


S3_URL = "s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*"
"""Pattern of a bucket, and the beginning of the names of objects in it."""
HUB_URL = "hf://[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*"
"""Pattern of a repository of the hub."""
UploadUrl = Annotated[str, Field(min_length=1, max_length=1024, pattern=f"^({S3_URL}|{HUB_URL})$")]


class UploadSecret(Section):
    """A Secret of the same namespace with credentials."""

    name: ObjectName
    """Name of the Secret."""


UploadPart = Literal["model", "samples", "report"]


class Upload(Section):
    """A copy of the results outside of the cluster."""

    to: UploadUrl
    """`s3://bucket/prefix` (object storage with the protocol of S3) or `hf://owner/name` (a repository of the model hub, which is
    created if it is missing)."""
    secret: UploadSecret | None = None
    """The credentials, by the keys of a Secret (cluster only; the command line takes them from the environment). For `s3://`:
    `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and where they are needed `AWS_SESSION_TOKEN`, `AWS_ENDPOINT_URL` and
    `AWS_REGION`. For `hf://`: `HF_TOKEN`, with the permission to write."""
    parts: Annotated[list[UploadPart], Field(min_length=1, max_length=3)] = ["model", "samples", "report"]
    """What is uploaded. `model`: the exported model. `samples`: the pictures of the prompts and of the evaluation. `report`: the
    report, the result and the losses."""
    private: bool = True
    """Whether a repository that is created on the hub is private. It shows pictures of the subject."""

    @property
    def on_hub(self) -> bool:
        """Whether it is a repository of the hub."""
        return self.to.startswith("hf://")


class Output(Section):
    """The exported model, and where the results are copied to."""

    formats: Annotated[list[Literal["diffusers", "single-file", "comfyui"]], Field(min_length=1, max_length=3)] = [
        "diffusers"
    ]
    """`diffusers`: a folder for `from_pretrained`; `single-file`: one .safetensors file for `from_single_file`; `comfyui`:
    the same file, and adapters in the layout of ComfyUI and kohya's scripts. Adapters of `lora` for diffusers are always
    written as well."""
    upload: Upload | None = None
    """A copy of the results outside of the cluster, made when the run is finished. Default: none."""


WandbName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._-]+$")]


class Wandb(Section):
    """A project of Weights & Biases, to which losses, figures and pictures are logged."""

    project: WandbName
    """Name of the project."""
    entity: WandbName | None = None
    """User or team that has the project. Default: that of the API key."""
    mode: Literal["offline", "online"] = "offline"
    """`offline`: everything is written to the folder of the run, for the command `wandb sync`. `online`: everything is sent
    while the run goes on."""
    api_key_secret: TokenSecret | None = None
    """The API key for `online` (cluster only; the command line takes it from the environment variable `WANDB_API_KEY` or from
    `wandb login`). Default: none."""


class Monitoring(Section):
    """Further programs that show losses, figures and pictures."""

    tensorboard: bool = False
    """Whether event files for TensorBoard are written to the folder of the run."""
    wandb: Wandb | None = None
    """A project of Weights & Biases. Default: none."""


class TrainConfig(Section):
    """All settings of a run."""

    model: Model
    subject: Subject | None = None
    """The subject that the model learns. Either this or `subjects` must be given."""
    subjects: Annotated[list[NamedSubject], Field(min_length=2, max_length=MOST_SUBJECTS)] | None = None
    """Several subjects that the model learns together, instead of `subject`. Each has the same share of the training, whatever
    the number of its photos. Subjects of one class share its class images. Default: none."""
    prior: Prior = Prior()
    training: Training = Training()
    deepspeed: DeepSpeed = DeepSpeed()
    checkpoints: Checkpoints = Checkpoints()
    samples: Samples = Samples()
    evaluation: Evaluation = Evaluation()
    output: Output = Output()
    monitoring: Monitoring = Monitoring()

    @property
    def all_subjects(self) -> dict[str, Subject]:
        """The subjects by their fields: `subject`, or `subjects[0]` and so on."""
        if self.subject:
            return {"subject": self.subject}
        return {f"subjects[{number}]": one for number, one in enumerate(self.subjects or ())}

    def with_subjects(self, subjects: Sequence[Subject]) -> Self:
        """These settings with other settings of the subjects, given in the order of `all_subjects`."""
        if self.subject:
            return self.model_copy(update={"subject": subjects[0]})
        return self.model_copy(update={"subjects": list(subjects)})

    @property
    def pictures(self) -> dict[str, Images]:
        """Where photos and own class images are, by the fields."""
        photos = {f"{place}.images": one.images for place, one in self.all_subjects.items()}
        return photos | ({"prior.source": self.prior.source} if self.prior.source else {})

    @property
    def classes(self) -> list[str]:
        """The distinct classes of the subjects."""
        return list(dict.fromkeys(one.class_ for one in self.all_subjects.values()))

    @property
    def class_images(self) -> int:
        """Class images of the run."""
        return self.prior.images * len(self.classes) if self.prior.enabled else 0

    @property
    def sampled_prompts(self) -> int:
        """Number of prompts of the samples, with those of each subject."""
        subjects, names = len(self.all_subjects), set(ANY_SUBJECT)
        return sum(subjects if placeholders(prompt) & names else 1 for prompt in self.samples.prompts)

    @property
    def other_classes(self) -> list[str]:
        """Classes of the evaluation without those of the subjects."""
        return [name for name in self.evaluation.other_classes if name not in self.classes]
