"""The device mesh: its sizes, its devices, the logical axis rules, and arrays that are split over it."""

from t2c_jax.mesh.devices import AXES as AXES
from t2c_jax.mesh.devices import across_slices as across_slices
from t2c_jax.mesh.devices import arranged as arranged
from t2c_jax.mesh.devices import axis_sizes as axis_sizes
from t2c_jax.mesh.devices import mesh_of as mesh_of
from t2c_jax.mesh.devices import slice_count as slice_count
from t2c_jax.mesh.order import in_order as in_order
from t2c_jax.mesh.rows import global_batch as global_batch
from t2c_jax.mesh.rows import local_rows as local_rows
from t2c_jax.mesh.rows import row_shards as row_shards
from t2c_jax.mesh.rows import sum_over_rows as sum_over_rows
from t2c_jax.mesh.selection import GIB as GIB
from t2c_jax.mesh.selection import MEMORY as MEMORY
from t2c_jax.mesh.selection import Workload as Workload
from t2c_jax.mesh.selection import check as check
from t2c_jax.mesh.selection import choose as choose
from t2c_jax.mesh.selection import make_mesh as make_mesh
from t2c_jax.mesh.selection import memory_bytes as memory_bytes
from t2c_jax.mesh.sharding import RULES as RULES
from t2c_jax.mesh.sharding import constrain as constrain
from t2c_jax.mesh.sharding import gather as gather
from t2c_jax.mesh.sharding import gathered_bytes as gathered_bytes
from t2c_jax.mesh.sharding import partition_spec as partition_spec
from t2c_jax.mesh.sharding import replicated as replicated
from t2c_jax.mesh.sharding import shardings as shardings
