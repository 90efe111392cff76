from benchmarks.speed import Measured, tables


def run(program: str, number: int, seconds: float, *, device: float | None = None, batch: int = 4) -> Measured:
    return Measured(program, number, batch, seconds, seconds / 10, 60 / seconds, 600 / seconds, 2.0, device)


def test_ratios_are_those_of_each_round_and_their_median() -> None:
    seconds = [(100, 50), (100, 60), (200, 90)]
    runs = [
        run(program, number, value)
        for number, pair in enumerate(seconds, start=1)
        for program, value in zip(("script", "same"), pair, strict=True)
    ]
    text = tables(runs)
    assert "**`same`, batches of 4+4**" in text
    assert "| whole wall time, s | 100.00 | 60.00 | 0.50, 0.60, 0.45 | **0.50** |" in text
    assert "| training steps/s | 6.00 | 10.00 | 2.00, 1.67, 2.22 | **2.00** |" in text


def test_the_memory_of_the_gpu_is_shown_where_there_is_one() -> None:
    assert "GPU" not in tables([run("script", 1, 10), run("defaults", 1, 5)])
    assert "| peak GPU memory, GiB | 8.00 | 4.00 | 0.50 | **0.50** |" in tables(
        [run("script", 1, 10, device=8), run("defaults", 1, 5, device=4)]
    )


def test_each_batch_size_and_arm_has_its_table() -> None:
    runs = [run(program, 1, 10, batch=batch) for batch in (1, 4) for program in ("script", "same", "defaults")]
    titles = [line for line in tables(runs).splitlines() if line.startswith("**")]
    assert titles == [f"**`{arm}`, batches of {batch}+{batch}**" for batch in (1, 4) for arm in ("same", "defaults")]
