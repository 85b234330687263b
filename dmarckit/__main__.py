"""The command `dmarckit`, and `python -m dmarckit`: a process of its own."""

import gc


def run() -> None:
    """Run the command line in a process that does nothing else."""
    gc.set_threshold(50_000)  # 700, the default, is meant for less than what libraries define
    from dmarckit.cli.main import main

    main()


if __name__ == "__main__":
    run()
