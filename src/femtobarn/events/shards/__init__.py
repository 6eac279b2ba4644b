"""Shards: a data set of any size, split and shuffled beforehand, so that it can be trained on from disk.

    index.json           what is in it: processes, shards, events and weights of each; written last
    train/0000.parquet   events, in the layout of `femtobarn.events.write_parquet`, hardest objects first
    validation/...       as for training
    test/...

Row groups are the units of reading. Each is a random sample of the events of its split, because events are assigned to
shards by hash, and shuffled within each shard. The hash is that of `femtobarn.events.subset`: a smaller fraction of the
events is the first few shards.
"""
