"""How a data set is written: sources encoded in threads, array_record files, and what an earlier build has stored."""
