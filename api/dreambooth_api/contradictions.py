"""Rules over several fields of a manifest, one function each, called by `validation.py`.

A rule reads fields by their path. Where one of them is missing or invalid by itself, which is reported elsewhere, the
rule is skipped; the other rules still apply.
"""

import re
from collections.abc import Callable, Collection, Iterator

from dreambooth_api.dependent_fields import SWITCHES, Switch
from dreambooth_api.failures import Problem
from dreambooth_api.fields import Fields, NoValidValue
from dreambooth_api.prompts import ANY_SUBJECT, mentions, placeholders, words_of
from dreambooth_api.training import EMBEDDED_MODELS, FOLDER_SCHEMES, SINGLE_FILE, SUBDOMAIN


def find_contradictions(fields: Fields) -> list[Problem]:
    """All problems that the rules find."""
    found = [problem for rule in RULES for problem in _apply(rule, fields)]
    for one in fields.each_subject():
        found += one.placed(problem for rule in SUBJECT_RULES for problem in _apply(rule, one.fields))
    return found


def model_contradictions(fields: Fields) -> list[Problem]:
    """All problems of the section `model`, of any kind."""
    return [problem for rule in MODEL_RULES for problem in _apply(rule, fields)]


def _apply(rule: "Rule", fields: Fields) -> list[Problem]:
    try:
        return list(rule(fields))
    except NoValidValue:
        return []


def _subject_prompt(fields: Fields) -> Iterator[Problem]:
    prompt = fields["subject.prompt"]
    for name in sorted(set(ANY_SUBJECT) - placeholders(prompt)):
        remedy = 'Write both {identifier} and {class}, as in "a {identifier} {class}"'
        yield Problem("spec.subject.prompt", prompt, f"has no {{{name}}}", remedy)


def _captions(fields: Fields) -> Iterator[Problem]:
    for place, caption in fields.texts("subject.captions"):
        yield from caption_problems(f"spec.{place}", caption, fields)


def caption_problems(field: str, caption: str, fields: Fields) -> Iterator[Problem]:
    """Problems of the caption of a photo.

    Args:
        field: where it is.
        caption: the caption. `{class}` may be missing, and the identifier may be written out. With several subjects, names stand
            for them.
        fields: the manifest of a run of its subject.
    """
    identifier = fields.get("subject.identifier") or "auto"
    names = [one.name for one in fields.each_subject() if one.name]
    yield from stray_placeholders(field, caption, (*ANY_SUBJECT, *names))
    shows_it = placeholders(caption) & {"identifier", fields.get("subject.name")}
    if not shows_it and (identifier == "auto" or not mentions(caption, identifier)):
        remedy = 'Write {identifier}, as in "a {identifier} {class} on a sofa", or remove the caption'
        yield Problem(
            field, caption, "has no {identifier}, so that the photo would not teach who the subject is", remedy
        )


def _prior_prompt(fields: Fields) -> Iterator[Problem]:
    prompt = fields["prior.prompt"]
    if "class" not in placeholders(prompt):
        yield Problem("spec.prior.prompt", prompt, "has no {class}", 'Write {class}, as in "a {class}"')
    if "identifier" in placeholders(prompt):
        message = "has {identifier}, but class images show any member of the class"
        yield Problem("spec.prior.prompt", prompt, message, "Remove {identifier}")


def stray_placeholders(field: str, prompt: str, known: Collection[str] = ANY_SUBJECT) -> Iterator[Problem]:
    """Problems of a prompt whose braces are not those of its placeholders.

    Args:
        field: where it is.
        prompt: the prompt.
        known: the placeholders that it may have.
    """
    *others, last = [f"{{{name}}}" for name in known]
    remedy = f"Use braces for {', '.join(others)} and {last} only"
    if unknown := sorted(placeholders(prompt) - set(known)):
        shown = ", ".join(f"{{{name}}}" for name in unknown)
        yield Problem(field, prompt, f"has the unknown placeholder {shown}", remedy)
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", prompt)):
        yield Problem(field, prompt, "has an unmatched brace", remedy)


def _placeholders_of(path: str) -> "Rule":
    def rule(fields: Fields) -> Iterator[Problem]:
        for place, prompt in fields.texts(path):
            yield from stray_placeholders(f"spec.{place}", prompt)

    return rule


def _one_source_of(path: str, pictures: str) -> "Rule":
    def rule(fields: Fields) -> Iterator[Problem]:
        sources = ["path", "configMap", "configMaps", "persistentVolumeClaim", "image"]
        given = [name for name in sources if fields.given(f"{path}.{name}")]
        if len(given) != 1 and fields[path] is not None:
            message = f"has several sources of the {pictures}" if given else f"has no source of the {pictures}"
            remedy = "Give exactly one of path, configMap, configMaps, persistentVolumeClaim or image"
            yield Problem(f"spec.{path}", given or None, message, remedy)

    return rule


def _placeholders_of_samples(fields: Fields) -> Iterator[Problem]:
    names = [one.name for one in fields.each_subject() if one.name]
    for place, prompt in fields.texts("samples.prompts"):
        yield from stray_placeholders(f"spec.{place}", prompt, (*ANY_SUBJECT, *names))


def _subject_or_subjects(fields: Fields) -> Iterator[Problem]:
    one, several = [fields[field] is not None and fields.given(field) for field in ("subject", "subjects")]
    if not several and not fields.each_subject():
        yield Problem("spec.subject", None, "is missing", "Give subject, or, for several subjects, subjects")
    if one and several:
        message = "is given in addition to subject"
        yield Problem("spec.subjects", [each.name for each in fields.each_subject()], message, "Remove one of them")


def _names_of_subjects(fields: Fields) -> Iterator[Problem]:
    seen: set[str] = set()
    for one in fields.each_subject():
        if one.name in ANY_SUBJECT:
            message = f"is a placeholder for each subject: {{{one.name}}}"
            yield Problem(f"spec.{one.place}.name", one.name, message, "Choose another name")
        if one.name and one.name in seen:
            yield Problem(
                f"spec.{one.place}.name", one.name, "is the name of another subject too", "Choose another name"
            )
        seen.add(one.name)


def _identifiers_differ(fields: Fields) -> Iterator[Problem]:
    words = {
        one.place: (one.fields.get("subject.identifier"), one.fields.get("subject.class"))
        for one in fields.each_subject()
    }
    seen: set[str] = set()
    for place, (identifier, _) in words.items():
        if not isinstance(identifier, str) or identifier == "auto":
            continue
        word, field = identifier.lower(), f"spec.{place}.identifier"
        classes = [class_ for other, (_, class_) in words.items() if other != place and isinstance(class_, str)]
        if word in seen:
            yield Problem(field, identifier, "is the identifier of another subject too", "Choose another word, or auto")
        elif word in words_of(*classes):
            message = "is also a word of the class of another subject, so it can't mean this subject alone"
            yield Problem(field, identifier, message, "Choose another word, or auto")
        seen.add(word)


def _one_class_of_own_images(fields: Fields) -> Iterator[Problem]:
    classes = {str(one.fields.get("subject.class")) for one in fields.each_subject()}
    if fields["prior.source"] is not None and len(classes) > 1:
        message = f"are pictures of one class, but the subjects have several: {', '.join(sorted(classes))}"
        remedy = "Remove it, so that all class images are generated, or give the subjects one class"
        yield Problem("spec.prior.source", None, message, remedy)


def _identifier_is_no_word(fields: Fields) -> Iterator[Problem]:
    identifier = fields["subject.identifier"]
    paths = (
        "subject.class",
        "subject.prompt",
        "prior.prompt",
        "samples.prompts",
        "evaluation.contexts",
        "evaluation.otherClasses",
    )
    texts = [text for path in paths for _, text in fields.texts(path)]
    if identifier != "auto" and identifier.lower() in words_of(*texts):
        message = "is also a word of the class, of a prompt or of the evaluation, so it can't mean the subject alone"
        yield Problem("spec.subject.identifier", identifier, message, "Choose another word, or auto")


def _warm_up(fields: Fields) -> Iterator[Problem]:
    warm_up, steps = fields["training.warmupSteps"], fields["training.steps"]
    if warm_up >= steps:
        message = f"leaves no step after the warm-up: training.steps is {steps}"
        yield Problem("spec.training.warmupSteps", warm_up, message, f"Set it below {steps}, or raise training.steps")


def _steps_to_choose_from(fields: Fields) -> Iterator[Problem]:
    if fields["training.stopping"] != "best":
        return
    if not fields["evaluation.enabled"]:
        message = "needs the figures of the evaluation, but evaluation.enabled is false"
        yield Problem(
            "spec.training.stopping", "best", message, "Set evaluation.enabled to true, or training.stopping to last"
        )
    if fields["training.steps"] < 2:
        message = "has nothing to choose from, because training.steps is 1"
        yield Problem(
            "spec.training.stopping", "best", message, "Raise training.steps, or set training.stopping to last"
        )


def _without_effect(switch: Switch) -> "Rule":
    def rule(fields: Fields) -> Iterator[Problem]:
        if fields[switch.field] != switch.idle:
            return
        for path in filter(fields.given, switch.dependents):
            yield Problem(f"spec.{path}", fields[path], switch.message, f"{switch.remedy}, or remove it")

    return rule


def _offload_of(part: str, lowest: int) -> "Rule":
    def rule(fields: Fields) -> Iterator[Problem]:
        stage = fields["deepspeed.zeroStage"]
        if fields[f"deepspeed.offload.{part}"] and stage != "auto" and stage < lowest:
            stages = f"{lowest}, or auto" if lowest == 3 else f"{lowest} or higher, or auto"
            message = f"needs ZeRO stage {stages}, but deepspeed.zeroStage is {stage}"
            remedy = f"Set deepspeed.zeroStage to {stages}, or remove it"
            yield Problem(f"spec.deepspeed.offload.{part}", True, message, remedy)

    return rule


def _quantized_shards(fields: Fields) -> Iterator[Problem]:
    stored = fields["training.quantization"]
    if stored != "none" and (fields["deepspeed.zeroStage"] == 3 or fields["deepspeed.offload.parameters"]):
        message = "can't be combined with ZeRO stage 3, which deepspeed asks for: quantized weights are not sharded"
        remedy = (
            "Set deepspeed.zeroStage to 2 or lower, or auto, and deepspeed.offload.parameters to false, or remove it"
        )
        yield Problem("spec.training.quantization", stored, message, remedy)


def _half_precision(fields: Fields) -> Iterator[Problem]:
    stage = fields["deepspeed.zeroStage"]
    if fields["training.mixedPrecision"] == "fp16" and stage == 0:
        message = "needs ZeRO stage 1 or higher, whose optimizers scale the loss, but deepspeed.zeroStage is 0"
        remedy = "Set deepspeed.zeroStage to 1 or higher, or auto, or choose bf16 or fp32"
        yield Problem("spec.training.mixedPrecision", "fp16", message, remedy)


def _source_of(path: str) -> "Rule":
    def rule(fields: Fields) -> Iterator[Problem]:
        source = fields[path]
        scheme, separator, name = source.partition("://")
        if not separator:
            return
        if scheme == "embedded":
            if name not in EMBEDDED_MODELS:
                known = ", ".join(EMBEDDED_MODELS)
                message = f"is unknown: no embedded model is named {name!r}; there are: {known}"
                yield Problem(f"spec.{path}", source, message, "Choose one of these, or give an hf:// repository")
        elif scheme == "hf":
            if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
                yield Problem(f"spec.{path}", source, "is no repository of the hub", "Write hf://organisation/name")
        elif scheme == "pvc":
            if not re.fullmatch(f"{SUBDOMAIN}(/.*)?", name):
                yield Problem(f"spec.{path}", source, "has no valid name of a claim", "Write pvc://claim/path")
        else:
            remedy = "Write embedded://emoji, hf://organisation/name, pvc://claim/path, or the path of a folder or file"
            yield Problem(f"spec.{path}", source, f"has the unknown scheme {scheme}://", remedy)

    return rule


def _needs_hub(name: str) -> "Rule":
    def rule(fields: Fields) -> Iterator[Problem]:
        field = f"model.{name}"
        if fields.given(field) and not fields["model.source"].startswith("hf://"):
            message = "has no effect, because model.source is no repository of the hub"
            yield Problem(f"spec.{field}", fields[field], message, "Remove it, or give an hf:// source")

    return rule


def _configuration(fields: Fields) -> Iterator[Problem]:
    if fields.given("model.config") and fields["model.source"].startswith(FOLDER_SCHEMES):
        message = "has no effect, because model.source is a folder with its own configuration"
        remedy = "Remove it, or give a single-file checkpoint as model.source"
        yield Problem("spec.model.config", fields["model.config"], message, remedy)


def _variant(fields: Fields) -> Iterator[Problem]:
    if fields.given("model.variant") and fields["model.source"].endswith(SINGLE_FILE):
        message = "has no effect, because model.source is a single file"
        yield Problem(
            "spec.model.variant", fields["model.variant"], message, "Remove it, or give a folder as model.source"
        )


def _dora_of_text_encoder(fields: Fields) -> Iterator[Problem]:
    if fields["training.lora.useDora"] and fields["training.trainTextEncoder"]:
        message = "is not supported for text encoders, whose library does not load the learned magnitudes"
        remedy = "Set it to false, or set training.trainTextEncoder to false"
        yield Problem("spec.training.lora.useDora", True, message, remedy)


def _dora_for_comfyui(fields: Fields) -> Iterator[Problem]:
    if fields["training.lora.useDora"] and "comfyui" in fields["output.formats"]:
        message = "is not supported for the format comfyui, which is written without learned magnitudes"
        remedy = "Set it to false, or remove comfyui from output.formats"
        yield Problem("spec.training.lora.useDora", True, message, remedy)


def _key_of_wandb(fields: Fields) -> Iterator[Problem]:
    secret = fields["monitoring.wandb.apiKeySecret"]
    if secret is not None and fields["monitoring.wandb.mode"] != "online":
        message = "has no effect, because monitoring.wandb.mode is offline"
        remedy = "Set monitoring.wandb.mode to online, or remove it"
        yield Problem("spec.monitoring.wandb.apiKeySecret", secret, message, remedy)


def _private_upload(fields: Fields) -> Iterator[Problem]:
    upload = fields["output.upload"]
    if upload and str(upload.get("to")).startswith("s3://") and upload.get("private", True) is False:
        message = "has no effect, because output.upload.to is no repository of the hub"
        yield Problem("spec.output.upload.private", False, message, "Remove it")


Rule = Callable[[Fields], Iterator[Problem]]

MODEL_RULES: list[Rule] = [_source_of("model.source"), _needs_hub("revision"), _configuration, _variant]
"""Rules of the section `model`, of any kind."""

RULES: list[Rule] = [
    *MODEL_RULES,
    _source_of("evaluation.encoder"),
    _needs_hub("tokenSecret"),
    _subject_or_subjects,
    _names_of_subjects,
    _identifiers_differ,
    _one_source_of("prior.source", "class images"),
    _one_class_of_own_images,
    _placeholders_of("prior.prompt"),
    _placeholders_of_samples,
    _prior_prompt,
    _warm_up,
    _steps_to_choose_from,
    *map(_without_effect, SWITCHES),
    _offload_of("optimizer", 1),
    _offload_of("parameters", 3),
    _half_precision,
    _quantized_shards,
    _dora_of_text_encoder,
    _dora_for_comfyui,
    _key_of_wandb,
    _private_upload,
]
"""Rules of a manifest."""

SUBJECT_RULES: list[Rule] = [
    _one_source_of("subject.images", "photos"),
    _identifier_is_no_word,
    _placeholders_of("subject.prompt"),
    _subject_prompt,
    _captions,
]
"""Rules of the manifest of a run of one subject, which apply to each subject."""
