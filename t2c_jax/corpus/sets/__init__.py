"""The field's public sets as TFDS datasets, so that ``tfds:NAME`` is a source.

``catalog`` is the table of the sets, ``public_set`` says what is known of one, ``published_files`` finds and checks its
files, ``published_formats`` reads them, and ``set_builder`` writes them as a TFDS dataset.
"""
