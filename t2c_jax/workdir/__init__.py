"""The run's directory: paths, lock, stages, object stores, and I/O that is atomic and retried."""

from t2c_jax.workdir.io import COMMITTED as COMMITTED
from t2c_jax.workdir.io import digest as digest
from t2c_jax.workdir.io import disk_errors as disk_errors
from t2c_jax.workdir.io import move_aside as move_aside
from t2c_jax.workdir.io import write_json as write_json
from t2c_jax.workdir.paths import MANIFEST as MANIFEST
from t2c_jax.workdir.paths import at_step as at_step
from t2c_jax.workdir.stages import StageResult as StageResult
from t2c_jax.workdir.workdir import PER_PROCESS_FILES as PER_PROCESS_FILES
from t2c_jax.workdir.workdir import RUN_FILES as RUN_FILES
from t2c_jax.workdir.workdir import Workdir as Workdir
