"""The run's directory: paths, lock, stages, object stores, and writing that is atomic and retried."""

from t2c_jax.workdir.directory import COMMITTED as COMMITTED
from t2c_jax.workdir.directory import MANIFEST as MANIFEST
from t2c_jax.workdir.directory import OF_A_PROCESS as OF_A_PROCESS
from t2c_jax.workdir.directory import OF_A_RUN as OF_A_RUN
from t2c_jax.workdir.directory import StageResult as StageResult
from t2c_jax.workdir.directory import Workdir as Workdir
from t2c_jax.workdir.directory import at_step as at_step
from t2c_jax.workdir.directory import digest as digest
from t2c_jax.workdir.directory import disk_errors as disk_errors
from t2c_jax.workdir.directory import evaluation_name as evaluation_name
from t2c_jax.workdir.directory import move_aside as move_aside
from t2c_jax.workdir.directory import write_json as write_json
