"""``manta verify crash``: the pipeline is killed everywhere, and the books must come out the same."""
