"""``t2c review``."""

from __future__ import annotations

import getpass
from argparse import ArgumentParser, Namespace
from typing import Any

from t2c_jax.commands import options as shared
from t2c_jax.commands.output import print_result
from t2c_jax.errors import UserError

SUMMARY = "a local page that asks people which answers are better, blind; and what they said"
_RESAMPLES = 2000


def add_arguments(parser: ArgumentParser) -> None:
    """Adds the command's options."""
    shared.add_evaluations(parser)
    parser.add_argument("--report", action="store_true", help="show what all reviewers said, instead of the page")
    parser.add_argument("--reviewer", metavar="NAME", help="whose ratings these are (default: the name of the user)")
    parser.add_argument(
        "--mode",
        choices=("rating", "preference"),
        help="rate each answer from 1 to 5, or choose between two (default: rating of one run, else preference)",
    )
    parser.add_argument(
        "--pairs", type=int, default=50, metavar="N", help="ask about at most N pairs, selected evenly (default: 50)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the order of questions and sides")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="of the page (default: a free one)")


def run(options: Namespace) -> int:
    """Runs the command and returns its exit status; Ctrl-C is how the page is meant to end."""
    for name in options.runs:
        shared.check_local("RUN", name)
    if options.overrides:
        raise UserError(f"t2c review reads evaluations that exist; leave out --config.{options.overrides[0]}")
    if options.pairs < 1:
        raise UserError(f"--pairs {options.pairs} asks nothing; take 1 or more")
    if not 0 <= options.port <= 65535:
        raise UserError(f"--port {options.port} is no port; take 1024 to 65535, or leave it out")
    return _report(options) if options.report else _serve(options)


def _serve(options: Namespace) -> int:
    from t2c_jax import console
    from t2c_jax.evaluate.review.questions import Mode, questions_of
    from t2c_jax.evaluate.review.ratings import RatingsFile, ratings_path
    from t2c_jax.evaluate.review.review_server import ReviewServer, stop_signals
    from t2c_jax.evaluate.review.review_session import ReviewSession
    from t2c_jax.evaluate.saved_evaluation import open_evaluations
    from t2c_jax.workdir import Workdir

    evaluations = open_evaluations(options.runs, options.split)
    mode: Mode = options.mode or ("rating" if len(evaluations) == 1 else "preference")
    reviewer = options.reviewer if options.reviewer is not None else _user()
    directory = evaluations[0].directory
    path = ratings_path(directory, reviewer)
    questions = questions_of(evaluations, mode, options.pairs, options.seed)
    with Workdir(directory).locked(f"reviews.{reviewer}", "or choose another --reviewer"):
        session = ReviewSession(questions, reviewer, options.seed, RatingsFile(path))
        server = ReviewServer(session, options.port)
        # From here on a stop at any time is a clean one.
        with stop_signals() as wait, server.running():
            console.say(f"{len(questions):,} questions for {reviewer}, {session.rated():,} of them rated in {path}")
            console.say(f"open {server.url}")
            console.say("Ctrl-C stops; the same command continues")
            wait()
    console.say(f"{session.rated():,} of {len(questions):,} rated; the same command with --report shows the results")
    print_result(options, {"reviewer": reviewer, **session.state(), "path": str(path)})
    return 0


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        raise UserError("this user has no name; say who reviews with --reviewer NAME") from None


def _report(options: Namespace) -> int:
    from t2c_jax.evaluate.review.review_results import review_results
    from t2c_jax.evaluate.saved_evaluation import open_evaluations

    evaluations = open_evaluations(options.runs, options.split)
    results = review_results(evaluations[0].directory, evaluations, resamples=_RESAMPLES, seed=options.seed)
    _show(results)
    print_result(options, results)
    return 0


def _show(results: dict[str, Any]) -> None:
    from t2c_jax import console
    from t2c_jax.evaluate.run_comparison import show_p

    def percent(share: float) -> str:
        return f"{100 * share:.1f}"

    if results["preferences"]:
        rows = [
            (
                f"{each['second']} against {each['first']}",
                each["pairs"],
                f"{percent(each['win_rate'])} ({' to '.join(map(percent, each['interval']))})",
                f"{each['wins']} : {each['ties']} : {each['losses']}",
                show_p(each["p_value"]),
            )
            for each in results["preferences"]
        ]
        console.table("Preferences", ("runs", "pairs", "win rate, %", "won : tied : lost", "p"), rows)
    if results["ratings"]:
        rows = [
            (
                each["run"],
                each["pairs"],
                f"{each['mean']:.2f} ({' to '.join(f'{edge:.2f}' for edge in each['interval'])})",
                *each["counts"].values(),
            )
            for each in results["ratings"]
        ]
        console.table("Ratings, 1 to 5", ("run", "pairs", "mean", *results["ratings"][0]["counts"]), rows)
    judged = ", ".join(f"{name} {count}" for name, count in results["reviewers"].items())
    console.say(f"questions judged: {judged}")
    for kind, found in results["agreement"].items():
        if results[kind]:
            console.say(f"agreement on {kind}: {_agreement(found)}")
    if results["left"] is not None:
        console.say(f"the answer on the left was chosen in {percent(results['left'])} % of choices; 50 % is expected")
    if results["other_ratings"]:
        console.say(f"not counted: {results['other_ratings']:,} ratings of other evaluations")


def _agreement(found: dict[str, Any]) -> str:
    if not found["units"]:
        return "unknown; a second reviewer (--reviewer NAME) has to judge the same questions"
    equal = f"{100 * found['agreeing']:.0f} % of judgements are equal, on {found['units']:,} questions"
    if found["alpha"] is None:
        return f"{equal}; Krippendorff's alpha needs two different judgements"
    low, high = found["interval"]
    return f"Krippendorff's alpha ({found['level']}) {found['alpha']:.2f} ({low:.2f} to {high:.2f}); {equal}"
