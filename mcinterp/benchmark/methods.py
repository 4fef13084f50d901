"""All methods of localisation under their names: importing this module registers them, in the order of tables.

A new method is one function from a `Case` to an `Answer`, registered by `@method("its name")`; put it where it belongs
(change, readout, activations, grafts), or in a module of your own that is imported before the benchmark runs.
"""

from mcinterp.benchmark import by_change, by_readout, by_activations, by_grafts  # noqa: F401, I001 (in this order)
from mcinterp.benchmark.case import METHODS, Answer, Case, Method, chosen_methods, method

__all__ = ["METHODS", "Answer", "Case", "Method", "chosen_methods", "located", "method"]


@method("locate")
def located(case: Case) -> Answer:
    """The library's own answer, from all prompts, without the runs that verify it."""
    from mcinterp.localisation.locating import locate

    by_head = case.by == "head"
    found = locate(case.chain, case.sequences.prompts, heads=by_head, held_out=None, verification=False)
    sites = found.heads if by_head else found.sites
    if sites is None:
        return Answer(case.scores({}), found.verdict, found.upstream)
    share = sites["score"].fillna(0.0)
    scores = dict(zip(share["component"].values.tolist(), share.values.tolist(), strict=True))
    return Answer(case.scores(scores), found.verdict, found.upstream)
