"""Reading a program's text: on what the TPU and the CPU compiler write, recorded and shortened."""

import pytest

from fsfm_jax.compile_check import hlo, program
from fsfm_jax.compile_check.products import product_flops

# Of a TPU: no trip count is noted, the loop's condition has it; VMEM is memory space 1; a product of batches is a
# convolution whose window is padding but for one place.
TPU = """HloModule jit_step, is_scheduled=true, num_partitions=4

%fused (param_0.1: bf16[16,4,197,197], param_1.1: bf16[16,4,197,32]) -> bf16[16,4,32,197] {
  %param_0.1 = bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)} parameter(0)
  %param_1.1 = bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)} parameter(1)
  ROOT %convolution.7 = bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)} convolution(%param_1.1, %param_0.1), window={size=16x4 stride=15x3 lhs_dilate=16x4}, dim_labels=01bf_01io->01bf, metadata={op_name="jit(step)/while/body/attn/dot_general"}
}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[]{:T(128)} parameter(0)
  %y = f32[]{:T(128)} parameter(1)
  ROOT %add.1 = f32[]{:T(128)} add(%x, %y)
}

%body (wide.param: (s32[], bf16[16,4,197,197], bf16[16,4,32,197])) -> (s32[], bf16[16,4,197,197], bf16[16,4,32,197]) {
  %wide.param = (s32[]{:T(128)}, bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)}, bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)}) parameter(0)
  %gte.0 = s32[]{:T(128)} get-tuple-element(%wide.param), index=0
  %gte.1 = bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)} get-tuple-element(%wide.param), index=1
  %gte.2 = bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)} get-tuple-element(%wide.param), index=2
  %fusion.1 = bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)S(1)} fusion(%gte.1, %gte.2), kind=kOutput, calls=%fused, backend_config={"flag_configs":[],"window_config":{"estimated_cycles":"1000","iteration_bounds":["1","1"]}}
  %all-reduce.9 = (bf16[128,384]{1,0:T(8,128)(2,1)S(1)}, bf16[384]{0:T(512)(128)(2,1)S(1)}, /*index=2*/f32[3,4,32]{2,1,0:T(4,128)}) all-reduce(%a, %b, %c), channel_id=2, replica_groups=mesh['axis_0'=4,'axis_1'=1] {'axis_0','axis_1'}, use_global_device_ids=true, to_apply=%add
  ROOT %tuple.1 = (s32[]{:T(128)}, bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)}, bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)}) tuple(%gte.0, %gte.1, %fusion.1)
}

%condition (wide.param.1: (s32[], bf16[16,4,197,197], bf16[16,4,32,197])) -> pred[] {
  %wide.param.1 = (s32[]{:T(128)}, bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)}, bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)}) parameter(0)
  %gte.3 = s32[]{:T(128)} get-tuple-element(%wide.param.1), index=0
  %constant.1 = s32[]{:T(128)} constant(8)
  ROOT %lt.1 = pred[]{:T(512)} compare(%gte.3, %constant.1), direction=LT, metadata={op_name="jit(step)/while/cond/lt"}
}

ENTRY %main.1_spmd (param.1: f32[4,256], param.2: (s32[], bf16[16,4,197,197], bf16[16,4,32,197])) -> f32[4,256] {
  %param.1 = f32[4,256]{1,0:T(4,128)} parameter(0)
  %param.2 = (s32[]{:T(128)}, bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)}, bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)}) parameter(1)
  %while.1 = (s32[]{:T(128)}, bf16[16,4,197,197]{3,2,1,0:T(8,128)(2,1)}, bf16[16,4,32,197]{3,2,1,0:T(8,128)(2,1)}) while(%param.2), condition=%condition, body=%body
  %copy-start.1 = (f32[4,256]{1,0:T(4,128)S(1)}, f32[4,256]{1,0:T(4,128)}, u32[]{:S(2)}) copy-start(%param.1)
  %copy-done.1 = f32[4,256]{1,0:T(4,128)S(1)} copy-done(%copy-start.1)
  ROOT %negate.1 = f32[4,256]{1,0:T(4,128)} negate(%copy-done.1), backend_config={"window_config":{"estimated_cycles":"7"}}
}
"""  # noqa: E501

# Of a CPU: loops have their trip count noted, products are called so, names may come without a percent sign.
CPU = """HloModule jit_step, num_partitions=8

%cond.1 (arg.1: (s32[], f32[6,8])) -> pred[] {
  %arg.1 = (s32[], f32[6,8]{1,0}) parameter(0)
  ROOT %fusion.9 = pred[] fusion(%arg.1), kind=kLoop, calls=%unknown
}

%body.1 (arg.2: (s32[], f32[6,8])) -> (s32[], f32[6,8]) {
  %arg.2 = (s32[], f32[6,8]{1,0}) parameter(0)
  %left = f32[6,8]{1,0} get-tuple-element(%arg.2), index=1
  %right = f32[8,8]{1,0} constant({...})
  %dot.1 = f32[6,8]{1,0} dot(%left, %right), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %all-gather.1 = f32[8,16]{1,0} all-gather(%right), channel_id=1, replica_groups=[2,4]<=[8], dimensions={1}
  ROOT %tuple.2 = (s32[], f32[6,8]{1,0}) tuple(%i, %dot.1)
}

ENTRY %main.2 (p.1: (s32[], f32[6,8])) -> f32[2,8] {
  %p.1 = (s32[], f32[6,8]{1,0}) parameter(0)
  %while.2 = (s32[], f32[6,8]{1,0}) while(%p.1), condition=%cond.1, body=%body.1, backend_config={"known_trip_count":{"n":"5"}}
  ROOT %reduce-scatter.1 = f32[2,8]{1,0} reduce-scatter(%x), channel_id=2, replica_groups={{0,1,2},{3,4,5}}, dimensions={0}, to_apply=%add
}
"""  # noqa: E501


def test_loops_run_as_often_as_their_condition_or_a_note_says_and_within_loops_multiply():
    assert hlo.Module.parse(TPU).runs == {"main.1_spmd": 1, "body": 8}
    assert hlo.Module.parse(CPU).runs == {"main.2": 1, "body.1": 5}
    module = hlo.Module.parse(CPU.replace(', backend_config={"known_trip_count":{"n":"5"}}', ""))
    assert module.unknown_loops == ("while.2",) and module.runs["body.1"] == 1
    assert hlo.Module.parse(TPU).unknown_loops == hlo.Module.parse(CPU).unknown_loops == ()
    inner = "  %inner = (s32[], f32[6,8]{1,0}) while(%arg.2), condition=%cond.1, body=%body.2, "
    inner += 'backend_config={"known_trip_count":{"n":"3"}}\n'
    body = CPU[CPU.index("%body.1 (") : CPU.index("ENTRY")].replace("%body.1 (", "%body.2 (")
    nested = CPU.replace("  %dot.1 =", inner + "  %dot.1 =", 1).replace("ENTRY", body + "ENTRY")
    assert hlo.Module.parse(nested).runs == {"main.2": 1, "body.1": 5, "body.2": 15}


def test_products_are_counted_by_what_is_contracted_without_the_padding_of_their_window():
    # 16 x 4 products of [32, 197] with [197, 197].
    once = 2 * 16 * 4 * 32 * 197 * 197
    assert product_flops(hlo.Module.parse(TPU)) == (8 * once, once)
    assert product_flops(hlo.Module.parse(CPU)) == (5 * 2 * 6 * 8 * 8, 2 * 6 * 8 * 8)


@pytest.mark.parametrize(("window", "inputs", "kernel", "outputs", "expected"), [
        ("{size=3}", 5, 3, 3, 9),  # every place meets a number
        ("{size=3 pad=1_1}", 5, 3, 5, 13),  # 3 for each output but 2 at both ends
        ("{size=2 stride=2 pad=0_1}", 5, 2, 3, 5),  # numbers 0 and 1, 2 and 3, 4
        ("{size=2 pad=0_1 rhs_dilate=3}", 5, 2, 3, 5),  # 0 and 3, 1 and 4, 2
        ("{size=3 pad=1_1 lhs_dilate=2}", 3, 3, 5, 7),  # numbers at 0, 2, 4: 1, 2, 1, 2, 1
    ])  # fmt: skip
def test_a_convolution_multiplies_where_its_window_meets_numbers(window, inputs, kernel, outputs, expected):
    text = f"""ENTRY %m (a: f32[2,{inputs},7], b: f32[{kernel},7,11]) -> f32[2,{outputs},11] {{
  %a = f32[2,{inputs},7]{{2,1,0}} parameter(0)
  %b = f32[{kernel},7,11]{{2,1,0}} parameter(1)
  ROOT %c = f32[2,{outputs},11]{{2,1,0}} convolution(%a, %b), window={window}, dim_labels=b0f_0io->b0f
}}
"""
    assert product_flops(hlo.Module.parse(text))[0] == 2 * expected * 2 * 7 * 11


def test_cycles_are_those_of_every_pass_and_traffic_leaves_out_what_stays_on_the_chip():
    assert program.estimated_cycles(hlo.Module.parse(TPU)) == 8 * 1000 + 7
    left, right, moved = 16 * 4 * 197 * 197 * 2, 16 * 4 * 32 * 197 * 2, 4 * 256 * 4
    reduced = 3 * 4 * 32 * 4  # of the all-reduce, the one part that is not on the chip
    # The fusion reads two arrays; the copy reads one; the negation writes one.
    assert program.hbm_bytes(hlo.Module.parse(TPU)) == 8 * (left + right + reduced) + moved + moved
    with pytest.raises(ValueError, match="expected an ENTRY computation, found none"):
        hlo.Module.parse("HloModule nothing")


def test_messages_are_counted_by_kind_and_type_in_every_pass():
    found = program.collectives(hlo.Module.parse(TPU), devices=4)
    half, whole = (128 * 384 + 384) * 2, 3 * 4 * 32 * 4
    assert found == (
        program.Collective("all-reduce", "bf16", 8, 8 * half, 8 * half * 2 * 3 / 4, 4),
        program.Collective("all-reduce", "f32", 0, 8 * whole, 8 * whole * 2 * 3 / 4, 4),  # of the same message
    )


def test_groups_of_devices_are_read_in_all_three_notations():
    gather, scatter = program.collectives(hlo.Module.parse(CPU), devices=8)
    assert gather == program.Collective("all-gather", "f32", 5, 5 * 512.0, 5 * 512 * 3 / 4, 4)
    # What goes into a reduce-scatter is its result from each of three.
    assert scatter == program.Collective("reduce-scatter", "f32", 1, 3 * 64.0, 3 * 64 * 2 / 3, 3)
    assert program.group_size("replica_groups=mesh['data'=4,'replica'=2] {'data'}", 8) == 4
    assert program.group_size("replica_groups={}", 8) == 8


def test_gradients_that_are_reduced_in_every_pass_are_seen():
    parameters = [(128, 384), (384,)]
    # [3, 4, 32] is 384 numbers too: the bias of query, key and value as the compiler shapes it.
    reductions, copies = program._gradients(hlo.Module.parse(TPU), parameters, devices=4)
    assert reductions == {"bf16": 8, "f32": 8}
    assert copies == 8 * (128 * 384 + 384 + 384) / (128 * 384 + 384)


def test_a_gathered_parameter_is_known_by_its_shape_in_any_order():
    module = hlo.Module.parse(CPU)
    assert program.gathered_parameters(module, [(16, 8)]) == 5
    assert program.gathered_parameters(module, [(16, 9), (128,)]) == 0
    # Features of 8 images that a loss compares may be gathered.
    assert program.gathered_parameters(module, [(16, 8), (8, 32)], compared=(8, 16)) == 0
    text = """ENTRY %m (a: f32[2,8]) -> f32[16,8] {
  %a = f32[2,8]{1,0} parameter(0)
  %all-gather-start.1 = (f32[2,8]{1,0}, f32[16,8]{1,0}) all-gather-start(%a), replica_groups=[1,8]<=[8], dimensions={0}
  ROOT %all-gather-done.1 = f32[16,8]{1,0} all-gather-done(%all-gather-start.1)
}
"""
    module = hlo.Module.parse(text)
    assert program.gathered_parameters(module, [(16, 8)]) == 1 and program.gathered_parameters(module, [(2, 8)]) == 0
    (found,) = program.collectives(module, devices=8)
    assert (found.kind, found.count, found.bytes) == ("all-gather", 1, 512.0)
