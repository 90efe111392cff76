"""Exit codes tell what happened: none stands for two things."""

from collections.abc import Iterator

from dreambooth_api.failures import TrainerFailure
from dreambooth_client.errors import ClientFailure, LocalFailure, WorkloadFailed


def codes_of(failure: type[TrainerFailure] | type[ClientFailure]) -> Iterator[int]:
    for one in failure.__subclasses__():
        if hasattr(one, "exit_code") and one not in (LocalFailure, WorkloadFailed):
            yield one.exit_code
        yield from codes_of(one)


def test_a_trainer_and_a_client_share_no_exit_code() -> None:
    of_trainer, of_client = set(codes_of(TrainerFailure)), set(codes_of(ClientFailure))
    assert of_trainer and of_client and of_trainer.isdisjoint(of_client)
