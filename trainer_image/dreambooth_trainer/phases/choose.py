"""Phase `choose`: measures the weights after some steps of the training, and chooses those that become the model.

Called by `pipeline.py` in all processes after the training, when its memory is free. The pictures are a part of those of the
evaluation, with the same prompts, seeds and sampler, so that all steps are compared by the same noise. Those of the base model
are stored where the evaluation finds them.
"""

from collections.abc import Sequence
from dataclasses import replace

from safetensors.torch import load_file

from dreambooth_trainer.evaluation.choice import Candidate, Choice, choose_among, weakest
from dreambooth_trainer.evaluation.clip import ClipScorer
from dreambooth_trainer.evaluation.figures import Figures, compute
from dreambooth_trainer.evaluation.pictures import sampler_of
from dreambooth_trainer.phase_records import Ledger
from dreambooth_trainer.phases.evaluate import PictureSet, PicturesOfBase, arrange, embeddings_in, generate, plan
from dreambooth_trainer.phases.export import put_weights
from dreambooth_trainer.process.storage import digest_of
from dreambooth_trainer.run import Run
from dreambooth_trainer.training.candidates import FILE, Candidates
from dreambooth_trainer.training.module import DreamBoothModule

RECORD = "figures"
"""Name of the record of a candidate's figures, next to its weights."""


def choose(run: Run) -> Choice:
    """Measures the stored weights that have not been measured, and chooses one of all.

    Raises:
        ModelUnavailable: the CLIP scorer can't be loaded.
        Interrupted: the run must stop; the figures of steps that are complete are kept.
    """
    config, distributed = run.config, run.distributed
    scorer = ClipScorer.load(config.evaluation.encoder, distributed.device)
    sets = compared(plan(config, run.words))
    tuned = [one for one in sets if one.model == "tuned"]
    key = _key(run, scorer, tuned)
    stored = Candidates(run.folder.candidates)
    recorded = {step: Ledger(stored.of(step)).recall(RECORD, key, Figures) for step in stored.steps()}
    # The processes may see different states of a network file system.
    figures_of = distributed.share(recorded)
    missing = [step for step, figures in figures_of.items() if figures is None]
    of_base, each = PicturesOfBase(run, scorer, sets), sum(len(one.seeds) for one in tuned)
    done, total = of_base.stored + each * (len(figures_of) - len(missing)), of_base.total + each * len(figures_of)
    with run.progress.phase("choose", total=total, unit="pictures", done=done) as phase:
        base = embeddings_in(of_base.complete(phase).items())
        module = _module(run) if missing else None
        for step in missing:
            assert module is not None
            put_weights(module, load_file(stored.of(step) / FILE))
            embeddings = base | embeddings_in(generate(run, phase, module.model, scorer, tuned))
            figures_of[step] = figures = weakest([compute(one) for one in arrange(run, scorer, embeddings)])
            if distributed.is_main:
                Ledger(stored.of(step)).record(RECORD, key, figures, {}, {})
    candidates = [Candidate(step=step, figures=figures) for step, figures in figures_of.items() if figures]
    return choose_among(candidates, config.training.steps)


def _module(run: Run) -> DreamBoothModule:
    """The base model as a module that takes trained weights."""
    module = DreamBoothModule(run.hand_over_model(exact=False), run.config.training, run.config.prior.weight)
    return module.eval()


def compared(sets: Sequence[PictureSet]) -> list[PictureSet]:
    """The part of a plan that shows differences between steps at little cost: the tuned model generates the first half of its
    pictures of the subject, its contexts and its class. Other classes are left out: half of their pictures give a KEEP that
    differs more between two sets of seeds than between steps."""
    return [
        one if one.model == "base" else replace(one, seeds=one.seeds[: len(one.seeds) // 2])
        for one in sets
        if not one.name.startswith("other/")
    ]


def _key(run: Run, scorer: ClipScorer, sets: Sequence[PictureSet]) -> str:
    """A digest of all that determines the figures of weights."""
    sampler = sampler_of(run.config.samples).model_dump(mode="json")
    return digest_of([scorer.digest, run.precision, run.resolution, sampler, [(one.prompt, one.seeds) for one in sets]])
