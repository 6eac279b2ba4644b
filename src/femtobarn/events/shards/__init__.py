"""Shards: a data set of any size, shared out and mixed beforehand, so that it can be trained on from disk.

    index.json           what is in it: processes, shards, events and weights of each; written last
    train/0000.parquet   events, in the layout of `femtobarn.events.write_parquet`, hardest objects first
    validation/...       as for training
    test/...

Row groups are the units of reading. Each is a sample of all events of its side, because the events of a side are dealt
to its shards by lot, and shuffled within each shard. The lot is that of `femtobarn.events.subset`: a smaller fraction
of the events is the first few shards.
"""
