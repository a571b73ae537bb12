"""Costs read off a program's text, against counts by hand."""

import pytest

from t2c_jax.aot.costs import costs
from t2c_jax.aot.hlo import parse, shapes

LOOP = """HloModule step, is_scheduled=true

%body (state: (s32[], f32[8,16])) -> (s32[], f32[8,16]) {
  %state = (s32[], f32[8,16]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x = f32[8,16]{1,0:T(8,128)} get-tuple-element(%state), index=1
  %kernel = f32[16,16]{1,0} constant({...})
  %dot = f32[8,16]{1,0} dot(%x, %kernel), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %sum = f32[8,16]{1,0} all-reduce(%dot), channel_id=1, replica_groups={{0,1,2,3},{4,5,6,7}}, to_apply=%add
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  ROOT %result = (s32[], f32[8,16]{1,0}) tuple(%next, %sum)
}

%less (a: s32[], b: s32[]) -> pred[] {
  %a = s32[] parameter(0)
  %b = s32[] parameter(1)
  ROOT %compare = pred[] compare(%a, %b), direction=LT
}

%condition (state.1: (s32[], f32[8,16])) -> pred[] {
  %state.1 = (s32[], f32[8,16]{1,0}) parameter(0)
  %i.1 = s32[] get-tuple-element(%state.1), index=0
  %limit = s32[] constant(7)
  ROOT %goes_on = pred[] fusion(%i.1, %limit), kind=kLoop, calls=%less
}

ENTRY %main (x.1: f32[8,16]) -> f32[8,16] {
  %x.1 = f32[8,16]{1,0} parameter(0)
  %two = s32[] constant(2)
  %start = s32[] copy(%two)
  %before = (s32[], f32[8,16]{1,0}) tuple(%start, %x.1)
  %loop = (s32[], f32[8,16]{1,0}) while(%before), condition=%condition, body=%body
  ROOT %y = f32[8,16]{1,0} get-tuple-element(%loop), index=1
}
"""


def test_a_loops_body_counts_as_often_as_it_runs():
    found = costs(LOOP)
    assert found.unknown_loops == 0
    assert found.flops == 5 * 2 * 8 * 16 * 16  # from 2 to 7
    (collective,) = found.collectives.values()
    assert (collective.kind, collective.overlapped, collective.group) == ("all-reduce", False, (0, 1, 2, 3))
    assert collective.count == 5
    assert collective.payload == 5 * 8 * 16 * 4
    assert collective.sent == 5 * 8 * 16 * 4 * 2 * 3 / 4  # a ring of four: each part goes around twice, less one hop


def test_the_trip_count_of_xla_is_used():
    told = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"11"}}')
    assert costs(told).flops == 11 * 2 * 8 * 16 * 16


def test_a_loop_of_unknown_trip_count_counts_once_and_is_reported():
    found = costs(LOOP.replace("%limit = s32[] constant(7)", "%limit = s32[] get-tuple-element(%state.1), index=0"))
    assert found.unknown_loops == 1
    assert found.flops == 2 * 8 * 16 * 16


def test_memory_is_traffic_between_hbm_and_the_chip():
    found = costs(LOOP)
    # Each run: dot reads x and kernel and writes its result; the sum reads and writes it; the counter's sum is 3 x 4
    # bytes; the copy before the loop is 2 x 4.
    array = 8 * 16 * 4
    assert found.memory == 5 * ((array + 16 * 16 * 4 + array) + 2 * array + 12) + 8


FUSIONS = """HloModule fusions, is_scheduled=true

%sliced (stack: f32[24,8,128], index: s32[]) -> f32[1,8,128] {
  %stack = f32[24,8,128]{2,1,0} parameter(0)
  %index = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %slice = f32[1,8,128]{2,1,0} dynamic-slice(%stack, %index, %zero, %zero), dynamic_slice_sizes={1,8,128}
}

%updated (stack.1: f32[24,8,128], index.1: s32[], new: f32[1,8,128]) -> f32[24,8,128] {
  %stack.1 = f32[24,8,128]{2,1,0} parameter(0)
  %index.1 = s32[] parameter(1)
  %new = f32[1,8,128]{2,1,0} parameter(2)
  %zero.1 = s32[] constant(0)
  ROOT %update = f32[24,8,128]{2,1,0} dynamic-update-slice(%stack.1, %new, %index.1, %zero.1, %zero.1)
}

ENTRY %main (p: f32[24,8,128], i: s32[]) -> f32[24,8,128] {
  %p = f32[24,8,128]{2,1,0} parameter(0)
  %i = s32[]{:T(128)S(6)} parameter(1)
  %row = f32[1,8,128]{2,1,0:T(8,128)S(1)} fusion(%p, %i), kind=kLoop, calls=%sliced
  ROOT %q = f32[24,8,128]{2,1,0} fusion(%p, %i, %row), kind=kLoop, calls=%updated
}
"""


def test_a_fusion_within_a_fusion_reads_the_slice_too():
    nested = FUSIONS.replace(
        "ENTRY %main",
        """%outer (stack.2: f32[24,8,128], index.2: s32[]) -> f32[1,8,128] {
  %stack.2 = f32[24,8,128]{2,1,0} parameter(0)
  %index.2 = s32[] parameter(1)
  %same = f32[24,8,128]{2,1,0} bitcast(%stack.2)
  ROOT %inner = f32[1,8,128]{2,1,0} fusion(%same, %index.2), kind=kLoop, calls=%sliced
}

ENTRY %main""",
    ).replace("kind=kLoop, calls=%sliced\n  ROOT %q", "kind=kOutput, calls=%outer\n  ROOT %q")
    assert "calls=%outer" in nested
    assert costs(nested).memory == costs(FUSIONS).memory


def test_a_fusion_reads_the_slice_and_writes_the_row():
    row, index = 8 * 128 * 4, 4
    # The row is read from HBM, and kept on the chip; written back, it comes from there.
    assert costs(FUSIONS).memory == (row + index) + (row + index)


PREFETCHED = """HloModule prefetched, is_scheduled=true

ENTRY %main (w: bf16[2048,512], v: bf16[64,64]) -> bf16[64,64] {
  %w = bf16[2048,512]{1,0:T(8,128)(2,1)} parameter(0)
  %v = bf16[64,64]{1,0:T(8,128)(2,1)} parameter(1)
  %first = ((bf16[2048,512]{1,0:T(8,128)(2,1)}), bf16[512,512]{1,0:T(8,128)(2,1)S(1)}, s32[]{:S(2)}) slice-start(%w), \
slice={[0:512], [0:512]}
  %first.1 = bf16[512,512]{1,0:T(8,128)(2,1)S(1)} slice-done(%first)
  %all = (bf16[64,64]{1,0:T(8,128)(2,1)S(1)}, bf16[64,64]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%v)
  %all.1 = bf16[64,64]{1,0:T(8,128)(2,1)S(1)} copy-done(%all)
  ROOT %used = bf16[64,64]{1,0:T(8,128)(2,1)S(1)} add(%all.1, %all.1)
}
"""


def test_what_is_fetched_ahead_is_read_once_and_a_part_of_it_alone():
    assert costs(PREFETCHED).memory == 2 * (512 * 512 + 64 * 64)


PARTS = """HloModule parts, is_scheduled=true

%gathering (k: bf16[8,64]) -> bf16[64,64] {
  %k = bf16[8,64]{1,0} parameter(0)
  ROOT %all-gather.1 = bf16[64,64]{1,0} all-gather(%k), channel_id=9, replica_groups=mesh['a'=2,'b'=8] {'b'}, \
dimensions={0}, backend_config={"async_collective_fusion_config":{"flag_start":"1"}}
}

%scatter_fused (g: f32[64,64], start: s32[]) -> f32[8,64] {
  %g = f32[64,64]{1,0} parameter(0)
  %start = s32[] parameter(1)
  %zero = s32[] constant(0)
  %all-reduce.1 = f32[64,64]{1,0} all-reduce(%g), channel_id=3, replica_groups=[2,8]<=[8,2]T(1,0), to_apply=%add
  ROOT %mine = f32[8,64]{1,0} dynamic-slice(%all-reduce.1, %start, %zero), dynamic_slice_sizes={8,64}
}

ENTRY %main (k.1: bf16[8,64], g.1: f32[64,64], s: s32[]) -> f32[8,64] {
  %k.1 = bf16[8,64]{1,0} parameter(0)
  %g.1 = f32[64,64]{1,0} parameter(1)
  %s = s32[] parameter(2)
  %first = bf16[64,64]{1,0} fusion(%k.1), kind=kCustom, calls=%gathering
  %second = bf16[64,64]{1,0} fusion(%k.1), kind=kCustom, calls=%gathering
  %sent = (bf16[8,64]{1,0}, bf16[8,64]{1,0}, u32[], u32[]) collective-permute-start(%k.1), channel_id=4, \
source_target_pairs={{0,1},{1,0}}
  %got = bf16[8,64]{1,0} collective-permute-done(%sent)
  ROOT %part = f32[8,64]{1,0} fusion(%g.1, %s), kind=kCustom, calls=%scatter_fused
}
"""


def test_groups_of_a_mesh_with_permuted_devices():
    """Devices 0 to 7 as 2 rows of 4, transposed to 4 rows of 2: down a column of the mesh go 0, 1, 2, 3."""
    mesh = "replica_groups=mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'a'}, dimensions"
    text = PARTS.replace("replica_groups=mesh['a'=2,'b'=8] {'b'}, dimensions", mesh)
    assert text != PARTS
    groups = {item.kind: item.group for item in costs(text).collectives.values()}
    assert groups["all-gather"] == (0, 1, 2, 3)


def test_a_group_in_an_unknown_form_is_an_error():
    with pytest.raises(ValueError, match="the devices of this all-gather are written in an unknown form"):
        costs(PARTS.replace("replica_groups=mesh['a'=2,'b'=8] {'b'}", "replica_groups=another"))


def test_collectives_by_kind_and_whether_they_are_waited_for():
    found = {(item.kind, item.overlapped): item for item in costs(PARTS).collectives.values()}
    assert found.keys() == {("all-gather", True), ("collective-permute", True), ("reduce-scatter", False)}
    gathered = found["all-gather", True]
    assert gathered.count == 1  # two fusions are the parts of one
    assert gathered.group == tuple(range(8))
    assert (gathered.payload, gathered.sent) == (64 * 64 * 2, 64 * 64 * 2 * 7 / 8)
    assert found["collective-permute", True].sent == 8 * 64 * 2
    scattered = found["reduce-scatter", False]
    assert scattered.group == tuple(range(0, 16, 2))
    assert (scattered.payload, scattered.sent) == (64 * 64 * 4, 64 * 64 * 4 * 7 / 8)


@pytest.mark.parametrize(
    ("types", "attributes", "flops"),
    [
        # 1x1: a plain product of (64 x 32) with (32 x 16).
        ("bf16[64,32] bf16[32,16] f32[64,16]", "dim_labels=bf_io->bf", 2 * 64 * 32 * 16),
        # A window over the contracted axis, cut in two by a reshape.
        ("bf16[64,2,32] bf16[16,2,32] f32[64,16,1]", "window={size=2}, dim_labels=b0f_o0i->bf0", 2 * 64 * 2 * 32 * 16),
        # A batch axis as a dilated window: of 4 x 4 pairs of its positions each output meets one.
        (
            "bf16[4,64,32] bf16[4,16,32] f32[4,64,16]",
            "window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0oi->0bf",
            2 * 4 * 64 * 32 * 16,
        ),
        # Padding by three on both sides, and the kernel reversed: four outputs that meet one position each.
        (
            "bf16[1,64,32] bf16[4,16,32] f32[4,64,16]",
            "window={size=4 pad=3_3 rhs_reversal=1}, dim_labels=0bf_0oi->0bf",
            2 * 4 * 64 * 32 * 16,
        ),
    ],
)
def test_products_printed_as_convolutions(types, attributes, flops):
    left, right, result = types.split()
    text = f"""HloModule product

ENTRY %main (a: {left}, b: {right}) -> {result} {{
  %a = {left} parameter(0)
  %b = {right} parameter(1)
  ROOT %c = {result} convolution(%a, %b), {attributes}
}}
"""
    assert costs(text).flops == flops


def test_a_hand_written_kernel_counts_as_it_declares():
    text = """HloModule kernel

ENTRY %main (a: bf16[8,128]) -> bf16[8,128] {
  %a = bf16[8,128]{1,0} parameter(0)
  ROOT %k = bf16[8,128]{1,0} custom-call(%a), custom_call_target="tpu_custom_call", \
backend_config={"custom_call_config":{"cost_estimate":{"flops":"4096","bytes_accessed":"1"}}}
}
"""
    found = costs(text)
    assert (found.flops, found.kernels) == (4096, 1)


def test_what_follows_a_kernel_whose_attributes_fill_lines_is_read_too():
    """As splash attention's do: a line that begins with a brace is not always a computation's end."""
    program = parse(
        "ENTRY %main (x: f32[8]) -> f32[8] {\n"
        "  %x = f32[8]{0} parameter(0)\n"
        '  %o = f32[8]{0} custom-call(%x), custom_call_target="k", frontend_attributes={kernel_metadata={\n'
        '"xprof_metadata":"{}"\n'
        '}}, metadata={op_name="splash"}\n'
        "  ROOT %sum = f32[8]{0} all-reduce(%o), channel_id=1\n"
        '}, execution_thread="main"\n'
        "  %stray = f32[8]{0} negate(%x)\n"
    )
    assert [item.opcode for item in program.computations["main"].operations] == [
        "parameter",
        "custom-call",
        "all-reduce",
    ]


def test_types_are_read_with_their_layouts():
    first, second = shapes("(bf16[8,16]{1,0:T(8,128)(2,1)S(1)}, /*index=1*/f32[])")
    assert (first.dtype, first.sizes, first.scratch, first.bytes) == ("bf16", (8, 16), True, 256)
    assert (second.sizes, second.scratch, second.bytes) == ((), False, 4)


def test_what_is_no_program_is_refused():
    with pytest.raises(ValueError, match="ENTRY"):
        parse("nothing of the kind")
