#!/usr/bin/env bash
# TFDS 4.9.9 cannot open a dataset that it has just written if protobuf 7 is installed.
#
# Versions:  tensorflow-datasets 4.9.9 (4.9.3 to 4.9.8 as well), protobuf 7.36.2, array_record 0.8.6.
# Behaviour: pip installs protobuf 7 beside it. Writing works; opening the folder raises AttributeError, about an
#            attribute of protobuf's descriptors that is gone. 4.9.10 works, and so does protobuf 6.
# Output:    written: 10 examples
#            opening: AttributeError: ... has no attribute 'label'
# Advice:    tensorflow-datasets>=4.9.10.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check tensorflow-datasets==4.9.9 protobuf==7.36.2 array_record==0.8.6
cd "$work"
"$work/venv/bin/python" - <<'PYTHON'
import tensorflow_datasets as tfds


class Pairs(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index in range(10):
            yield index, {"text": str(index)}


builder = Pairs(data_dir="data", file_format="array_record")
builder.download_and_prepare()
print("written:", builder.info.splits["train"].num_examples, "examples")
try:
    tfds.builder_from_directory(builder.data_dir)
except AttributeError as error:
    print("opening: AttributeError:", error)
else:
    raise AssertionError("changed: the folder opens")
PYTHON
