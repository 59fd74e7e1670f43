"""The mutants: subject, file, text, faulty text, tests that must fail.  One line more is one more.

`python tests/mutants/run.py` carries them out.  A text stands once in its file; a test is named as
pytest names it, without its cases or with one of them, and takes under two seconds.
"""

from mutants import Mutant

T = "tests"
STRATEGIES = f"{T}/builtins/test_strategies.py"
BY_HAND = f"{STRATEGIES}::test_twelve_steps_give_the_weights_of_a_loop_by_hand"
PHASE, STEPS, OPTIMIZER = (f"{T}/engine/test_{name}.py" for name in ("phase", "steps", "optimizer"))
MODEL, BATCHES, VIEW = (f"{T}/engine/test_{name}.py" for name in ("model", "batches", "view"))
EVALUATE, TRAINING = (f"{T}/engine/test_{n}.py" for n in ("evaluate", "training"))
SPLIT, STRATIFY = f"{T}/data/test_split.py", f"{T}/data/test_stratify.py"
METRICS, IDENTITY = f"{T}/builtins/test_metrics.py", f"{T}/benchmark/test_identity.py"
ESTIMATE, RANKS, GAINS = (f"{T}/stats/test_{n}.py" for n in ("estimate", "ranks", "gains"))
VERDICTS, GENERAL = (f"{T}/stats/test_{name}.py" for name in ("verdicts", "general"))
CONJUNCTION, COLLAPSE = (f"{T}/stats/test_{name}.py" for name in ("conjunction", "collapse"))
GATE, VERIFY = f"{T}/results/gate/test_check.py", f"{T}/results/test_verify.py"
TOLD, PARTS = (f"{T}/results/gate/test_{name}.py" for name in ("report", "several_splits"))
CONCLUSION, OF = f"{T}/leaderboard/test_conclusion.py", f"{T}/api/test_metric.py"
TRACKS = f"{T}/leaderboard/test_tracks.py"
WORKERS, PLACES = (f"{T}/benchmark/test_{name}.py" for name in ("workers", "places"))
REGISTRY, PROVENANCE = (f"{T}/plugins/test_{name}.py" for name in ("registry", "provenance"))
SESSION, NUMBERS = f"{T}/cli/test_session.py", f"{T}/cli/test_numbers.py"
CALLS = f"{T}/calls"
PUBLISH, KIT = f"{T}/publish/test_publish.py", f"{T}/testing/test_kit.py"


def by_hand(*names):
    return tuple(f"{BY_HAND}[{name}]" for name in names)


# The loops by hand themselves: emptied, and at twice the rate.
ORACLES = (
    Mutant("oracle", STRATEGIES, "    ORACLES[name](hand, STRATEGIES[name])\n    outcome", "    outcome", (BY_HAND,), every=True),
    Mutant("oracle", "tests/support/by_hand.py", "= LR * rate *", "= 2 * LR * rate *", (BY_HAND,), every=True),
)  # fmt: skip

PLUGINS = (
    Mutant("strategies", "plugins/harness_lp_ft/__init__.py", 'begin="best"', 'begin="here"', by_hand("lp-ft")),
    Mutant("strategies", "plugins/harness_lp_ft/__init__.py", '{"*": self.ft_rate}', '{"*": 1.1 * self.ft_rate}', by_hand("lp-ft")),
    Mutant("strategies", "plugins/harness_linear_probe/__init__.py", "dict.fromkeys(stages, 1.0)", "dict.fromkeys(model.stages, 1.0)", by_hand("linear-probe")),
    Mutant("strategies", "plugins/harness_full_ft/__init__.py", 'train={"*": 1.0}', 'train={"head": 1.0}', by_hand("full-ft")),
    Mutant("strategies", "plugins/harness_gradual_unfreezing/__init__.py", "epochs / (2 * len(order))", "epochs / (2 * len(order) + 2)", by_hand("gradual-last-first", "gradual-first-last")),
    Mutant("strategies", "plugins/harness_gradual_unfreezing/__init__.py", "below_head(model)[::-1]", "below_head(model)", by_hand("gradual-last-first")),
    Mutant("strategies", "plugins/harness_gradual_unfreezing/__init__.py", "keep_optimizer=True", "keep_optimizer=False", by_hand("gradual-last-first")),
    Mutant("strategies", "plugins/harness_gradual_unfreezing/__init__.py", 'anneal="run"', 'anneal="phase"', by_hand("gradual-first-last")),
    Mutant("strategies", "plugins/harness_gradual_unfreezing/__init__.py", "patience=last", "patience=True", (f"{STRATEGIES}::test_patience_counts_once_everything_learns",)),
    Mutant("strategies", "plugins/harness_auto_rgn/__init__.py", "value / largest if", "value / sum(rgn.values()) if", by_hand("auto-rgn")),
    Mutant("strategies", "plugins/harness_auto_rgn/__init__.py", "gradients[name].norm() / norm", "gradients[name].norm()", by_hand("auto-rgn")),
    Mutant("strategies", "plugins/harness_auto_rgn/__init__.py", '] = "eval"\n', '] = "train"\n', by_hand("auto-rgn")),
    Mutant("strategies", "plugins/harness_starting_point/__init__.py", 'start = Distance("l2", self.alpha, old)', 'start = Distance("l2", self.alpha, old, towards="zero")', by_hand("l2-sp")),
    Mutant("strategies", "plugins/harness_starting_point/__init__.py", "if info.pretrained)", "if True)", by_hand("l2-sp", "l1-sp")),
    Mutant("strategies", "plugins/harness_starting_point/__init__.py", "decay=dict.fromkeys(covered, 0.0)", "decay={}", (f"{STRATEGIES}::test_what_a_penalty_ties_takes_no_weight_decay",)),
)  # fmt: skip

RATES = (
    Mutant("rates", "harness/engine/optimizer.py", "1.0 + math.cos(math.pi * progress)", "1.0 + math.cos(math.pi * progress / 2)", by_hand("full-ft")),
    Mutant("rates", "harness/engine/optimizer.py", "return elapsed / schedule.warmup", "return (elapsed + 1) / schedule.warmup", (f"{OPTIMIZER}::test_rates_over_time",)),
    Mutant("rates", "harness/engine/optimizer.py", "schedule.floor + (1.0 - schedule.floor) * shape", "max(schedule.floor, shape)", (f"{OPTIMIZER}::test_rates_over_time",)),
    Mutant("rates", "harness/engine/optimizer.py", "begun = step if over_run else step - self.first", "begun = step", by_hand("lp-ft")),
    Mutant("rates", "harness/engine/optimizer.py", 'self.lr * group["multiplier"] * factor', "self.lr * factor", by_hand("auto-rgn")),
    Mutant("rates", "harness/engine/optimizer.py", "number < own and", "number <= own and", (f"{OPTIMIZER}::test_the_first_pattern_that_matches_wins",), survives="a pattern that is a whole name is never among the broad ones: < and <= are the same"),
    Mutant("rates", "harness/engine/optimizer.py", "return dict.fromkeys(names, default) | first_match(phase.decay, names)", "return dict.fromkeys(names, default)", (f"{OPTIMIZER}::test_decay_and_rates_by_parameter_equal_torch_groups",)),
    Mutant("rates", "harness/engine/steps.py", "given.optimizer.set_rate(given.schedule.factor(number))", "given.optimizer.set_rate(given.schedule.factor(number + 1))", by_hand("full-ft")),
    Mutant("rates", "harness/engine/steps.py", "first = max(schedule.first, epoch * length)", "first = epoch * length", (f"{STEPS}::test_optimizers_rates_decays_and_kept_state",)),
    Mutant("rates", "harness/engine/phase.py", "decays(phase, named, protocol.weight_decay)", "decays(phase, named, 0.0)", (f"{OPTIMIZER}::test_decay_and_rates_by_parameter_equal_torch_groups",)),
)  # fmt: skip

PHASES = (
    Mutant("budget", "harness/engine/phase.py", "round(planned * length)", "int(planned * length)", (f"{PHASE}::test_steps_are_rounded_to_the_nearest",)),
    Mutant("budget", "harness/engine/phase.py", "budget.epochs if self.stopped else budget.spent + self.phase.epochs", "budget.spent + self.phase.epochs", (f"{PHASE}::test_unspent_epochs_stay_on_the_budget",)),
    Mutant("budget", "harness/engine/phase.py", "if phase.keep_optimizer:", "if True:", (f"{OPTIMIZER}::test_optimizer_state_is_kept_only_if_asked",)),
    Mutant("budget", "harness/engine/state.py", "if self.protocol.charge_looks:", "if not self.protocol.charge_looks:", (f"{VIEW}::test_looks_cost_budget_where_the_protocol_says_so",)),
    Mutant("patience", "harness/engine/state.py", "self.waited >= self.limit", "self.waited > self.limit", (f"{PHASE}::test_patience_ends_the_phase_not_the_run",)),
    Mutant("patience", "harness/engine/state.py", "self.waited, self.waiting_for = 0, score", "self.waited = 0", (f"{PHASE}::test_patience_counts_from_the_best_score",)),
    Mutant("patience", "harness/engine/state.py", "self.waited += 1", "self.waited, self.waiting_for = self.waited + 1, score", (f"{PHASE}::test_patience_counts_from_the_best_score",)),
    Mutant("patience", "harness/engine/phase.py", "if not phase.continues:", "if phase.continues:", (f"{PHASE}::test_patience_restarts_with_a_phase_unless_it_continues",)),
    Mutant("patience", "harness/engine/phase.py", "return phase.patience and state", "return state", (f"{PHASE}::test_a_phase_can_be_spared_from_patience",)),
    Mutant("best checkpoint", "harness/engine/state.py", "return score > than if", "return score >= than if", (f"{PHASE}::test_the_best_epoch_on_validation_is_tested",)),
    Mutant("best checkpoint", "harness/engine/state.py", "if self.metric.higher_is_better else score < than", "if True else score < than", (f"{PHASE}::test_a_metric_where_less_is_better_selects_the_least",)),
    Mutant("best checkpoint", "harness/engine/state.py", "copy_all([tensors[name] for name in moved], [own[name] for name in moved])", "tensors.update({name: own[name] for name in moved})", (f"{PHASE}::test_the_weights_of_the_best_epoch_are_tested",)),
    Mutant("best checkpoint", "harness/engine/training.py", "    state.network.load(best.tensors)\n", "", (f"{PHASE}::test_the_weights_of_the_best_epoch_are_tested",)),
    Mutant("best checkpoint", "harness/engine/phase.py", "if phase.select:", "if True:", (f"{PHASE}::test_a_phase_that_does_not_select_is_never_tested",)),
    Mutant("best checkpoint", "harness/engine/state.py", 'if phase.begin == "pretrained":', "if False:", (f"{PHASE}::test_begin_pretrained_goes_back_to_the_start",)),
    Mutant("averages", "harness/engine/phase.py", "self._towards_now(1 / self.count)", "self._towards_now(1 / (self.count + 1))", (f"{PHASE}::test_averages_of_weights[swa]",)),
    Mutant("averages", "harness/engine/phase.py", "                estimate_norms(network, source, batches)\n", "                pass\n", (f"{PHASE}::test_an_average_has_the_statistics_of_a_pass_of_its_own",)),
    Mutant("reference", "harness/engine/phase.py", "frozen.load_state_dict(self.state.network.initial)", "pass", (f"{PHASE}::test_a_reference_is_the_network_it_says",)),
)  # fmt: skip

NETWORK = (
    Mutant("batch norm", "harness/engine/phase.py", "stage.train(name in self.learning_stages)", "stage.train()", (f"{MODEL}::test_a_frozen_stage_keeps_its_batch_norm_statistics",)),
    Mutant("batch norm", "harness/engine/phase.py", 'if self.norm == "eval":', 'if self.norm == "train":', (f"{MODEL}::test_norm_eval_keeps_statistics_while_the_stage_learns",)),
    Mutant("batch norm", "harness/engine/phase.py", 'protocol.norm if phase.norm == "auto" else phase.norm', "protocol.norm", by_hand("auto-rgn")),
    Mutant("batch norm", "harness/engine/view.py", 'module.training = norm_mode == "train"', 'module.training = norm_mode == "eval"', (f"{VIEW}::test_gradients_are_those_of_the_loss_in_eval_mode",)),
    Mutant("batch norm", "harness/engine/model.py", "torch.rsqrt(var + module.eps)", "torch.rsqrt(var)", (f"{STEPS}::test_frozen_norms_go_back_as_torchs_do",)),
    Mutant("batch norm", "harness/engine/model.py", "known and not module.training and not learns", "known and not learns", (f"{STEPS}::test_norms_that_learn_or_use_the_batch_are_left_alone",)),
    Mutant("batch norm", "harness/engine/model.py", "(module.weight.requires_grad or module.bias.requires_grad)", "module.weight.requires_grad", (f"{STEPS}::test_every_strategy_ends_where_the_reference_does[bitfit-toy-cpu]",)),
    Mutant("penalties", "harness/engine/optimizer.py", "moved, alpha=term.distance.strength)", "moved, alpha=2 * term.distance.strength)", by_hand("l1-sp", "l2-sp")),
    Mutant("penalties", "harness/engine/optimizer.py", "                torch._foreach_sign_(moved)\n", "                pass\n", by_hand("l1-sp")),
    Mutant("penalties", "harness/engine/optimizer.py", "(moved.abs() - reach).clamp_(min=0)", "(moved.abs() - reach)", (f"{STRATEGIES}::test_a_proximal_step_is_soft_thresholding",)),
    Mutant("penalties", "harness/engine/optimizer.py", "optimizer.reach(name) * term.distance.strength", "term.distance.strength", (f"{STRATEGIES}::test_a_proximal_step_is_soft_thresholding",)),
    Mutant("penalties", "harness/engine/optimizer.py", "            loss = loss + penalty(self.learning, self.start)\n", "            loss = loss + 0 * penalty(self.learning, self.start)\n", (f"{OPTIMIZER}::test_a_foreign_penalty_goes_through_autograd",)),
    Mutant("loss", "harness/engine/state.py", "counts.sum() / (len(counts) * counts)", "counts.sum() / counts", (f"{PHASE}::test_class_weights_and_label_smoothing_are_torchs",), survives="a mean weighted by class is the same under any multiple of the weights"),
    Mutant("loss", "harness/engine/state.py", "spread = -(found * weights).sum()", "spread = -found.sum()", (f"{PHASE}::test_class_weights_and_label_smoothing_are_torchs",)),
    Mutant("pixels", "harness/engine/batches.py", "x = (x - self.mean) / self.std", "x = x / self.std - self.mean", (f"{BATCHES}::test_images_are_normalised_as_the_protocol_says",)),
    Mutant("pixels", "harness/engine/batches.py", '(1, "flip-vertical", HEIGHT)', '(1, "flip-vertical", WIDTH)', (f"{BATCHES}::test_flips_are_exact",)),
    Mutant("pixels", "harness/engine/batches.py", "rows = [cos, -sin, draws[:, 2] * 2 * SHIFT", "rows = [cos, sin, draws[:, 2] * 2 * SHIFT", (f"{BATCHES}::test_affine_turns_scales_and_shifts_as_scipy_does",)),
    Mutant("sharing", "harness/engine/shared.py", 'any(not name.startswith("head.") for name in start.record.new)', "False", (f"{EVALUATE}::test_features_of_another_starting_point_are_not_taken[drawn in part]",)),
    Mutant("sharing", "harness/engine/evaluate.py", "stage > state.network.touched", "False", (f"{EVALUATE}::test_features_are_not_shared_once_a_stage_has_learned",)),
    Mutant("sharing", "harness/engine/seeds.py", 'f"{spec.seed}|{spec.dataset}', 'f"{spec.dataset}', (f"{MODEL}::test_all_strategies_share_head_and_order_but_not_over_seeds",)),
)  # fmt: skip

DATA = (
    Mutant("splits", "harness/data/division/stratify.py", "        if sample.content:\n", "        if False:\n", (f"{SPLIT}::test_duplicates_and_twins_join_in_made_splits",)),
    Mutant("splits", "harness/data/division/stratify.py", 'for split in ("validation", "test"):  # test', 'for split in ("test", "validation"):  # test', (f"{SPLIT}::test_twins_of_test_and_validation_leave_and_are_counted",)),
    Mutant("splits", "harness/data/division/stratify.py", '("group", sample.group), sample.id', '("group", sample.id), sample.id', (f"{STRATIFY}::test_a_cluster_is_what_groups_contents_and_twins_link",)),
    Mutant("splits", "harness/data/division/stratify.py", '("train", "test", "validation")\n    there', '("validation", "test", "train")\n    there', (f"{STRATIFY}::test_few_units_go_to_train_then_test_then_validation",)),
    Mutant("splits", "harness/data/division/stratify.py", "if cost < best_cost:", "if cost > best_cost or not best:", (f"{STRATIFY}::test_the_nearest_of_several_orders_is_taken",)),
    Mutant("splits", "harness/data/division/split.py", 'shares["test"] = protocol.test_share', 'shares["test"] = protocol.validation_share', (f"{SPLIT}::test_imbalance_is_kept_in_proportion",)),
    Mutant("splits", "harness/data/division/split.py", 'if "validation" in made:', "if True:", (f"{SPLIT}::test_official_makes_what_is_missing_out_of_train",)),
    Mutant("splits", "harness/data/division/split.py", "sample.group, placed[sample.id], sample.content]", 'sample.group, placed[sample.id], ""]', (f"{SPLIT}::test_the_fingerprint_sees_every_field",)),
    Mutant("splits", "harness/data/division/split.py", 'f"limit:{seed}"', 'f"limit:0"', (f"{SPLIT}::test_no_limit_takes_all_and_the_seed_decides",)),
    Mutant("metrics", "harness/api/metric.py", "        except Undefined:\n            raise\n", "", (f"{OF}::test_a_function_may_say_that_it_has_no_figure",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", "(right / own).mean())", "(right / own.mean()).mean())", (f"{METRICS}::test_by_hand[balanced-accuracy-0.7222222222222222]",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", 'confidence, side="left"', 'confidence, side="right"', (f"{METRICS}::test_confidence_on_the_edge_of_a_bin_belongs_to_the_lower_one",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", ".sum(axis=1).mean())\n\n\ndef recalls", ".mean(axis=1).mean())\n\n\ndef recalls", (f"{METRICS}::test_calibration_by_hand",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", "float((2 * right / (own + taken)).mean())", "float(np.average(2 * right / (own + taken), weights=own))", (f"{METRICS}::test_by_hand",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", "    value = None if reason else balanced_accuracy(shares, truth)\n", "    value = float(np.nanmean(np.array(by_class, float)))\n", (f"{METRICS}::test_recall_of_the_other_classes_stands_when_one_is_absent",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", "np.cumsum(ties) - (ties - 1) / 2", "np.cumsum(ties)", (f"{METRICS}::test_auroc_is_scikit_learns_one_against_rest",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", "last = np.append(np.flatnonzero(np.diff(column[order])), len(truth) - 1)", "last = np.arange(len(truth))", (f"{METRICS}::test_scikit_learn_finds_the_same",)),
    Mutant("metrics", "plugins/harness_metrics/figures.py", "/ (1 - chance)", "/ (1 + chance)", (f"{METRICS}::test_by_hand",)),
)  # fmt: skip

STATISTICS = (
    Mutant("statistics", "harness/stats/estimate.py", "(len(p) - place) * p[index]", "len(p) * p[index]", (f"{ESTIMATE}::test_holm_agrees_with_statsmodels",)),
    Mutant("statistics", "harness/stats/estimate.py", "largest = max(largest, ", "largest = max(0.0, ", (f"{ESTIMATE}::test_holm_by_its_definition",)),
    Mutant("statistics", "harness/stats/estimate.py", "spread = math.fsum(s**2 / e.df", "spread = math.fsum(s / e.df", (f"{ESTIMATE}::test_mean_of_two_samples_is_welch",)),
    Mutant("statistics", "harness/stats/estimate.py", "2 * stdtr(self.df, -moved", "stdtr(self.df, -moved", (f"{ESTIMATE}::test_an_estimate_is_students",)),
    Mutant("statistics", "harness/stats/verdicts.py", "for name, one in given.items() if one.seeds >= SEEDS]", "for name, one in given.items() if one.seeds >= 2]", (f"{VERDICTS}::test_fewer_than_three_seeds_are_not_tested",)),
    Mutant("statistics", "harness/stats/verdicts.py", "_scaled(_adjusted(averages), AVERAGES, tracks)", "_scaled(_adjusted(averages), BOARD, tracks)", (f"{VERDICTS}::test_averages_are_adjusted_after_holm_at_three_hundredths",)),
    Mutant("statistics", "harness/stats/gains.py", "least = max(own.noise / own.times, cell.step**2)", "least = 0.0", (f"{GAINS}::test_groups_that_all_gain_alike_are_no_certainty",)),
    Mutant("statistics", "harness/stats/gains.py", "np.maximum(0.0, ratio * base - noise) / count", "np.maximum(0.0, ratio * base) / count", (f"{GAINS}::test_luck_of_seeds_by_hand",)),
    Mutant("statistics", "harness/stats/general.py", "df = np.minimum(df, (sets - 1) * (1 + strategies) / 2)", "df = np.minimum(df, np.inf)", (f"{GENERAL}::test_strategies_that_vary_alike_lend_all_they_know",)),
    Mutant("statistics", "harness/stats/general.py", "variance = np.maximum(own, own[first, second].mean())", "variance = own", (f"{GENERAL}::test_pairs_by_hand",)),
    Mutant("statistics", "harness/stats/conjunction.py", "largest = given[least - 1 :]", "largest = given[:least]", (f"{CONJUNCTION}::test_cells_that_stand_alone_are_fishers",)),
    Mutant("statistics", "harness/stats/ranks.py", "(np.cumsum(sizes) - (sizes - 1) / 2)", "np.cumsum(sizes)", (f"{RANKS}::test_ranks_share_places",)),
    Mutant("statistics", "harness/stats/ranks.py", "k * (k + 1) / (6 * blocks)", "k * (k - 1) / (6 * blocks)", (f"{RANKS}::test_critical_values_are_those_of_demsar_2006",)),
)  # fmt: skip

RESULTS = (
    Mutant("gate", "harness/stats/paired.py", "1 / (len(sizes) * sizes[label]) if balanced", "1 / len(label) if balanced", (f"{GATE}::test_balanced_accuracy_weighs_classes",)),
    Mutant("gate", "harness/results/gate/records.py", '    "worse", "collapsed", "newly', '    "collapsed", "newly', (f"{GATE}::test_losses_and_gains",)),
    Mutant("gate", "harness/results/gate/records.py", '    "worse", "collapsed", "newly', '    "worse", "newly', (f"{GATE}::test_a_collapse_is_named_however_few_the_groups",)),
    Mutant("gate", "harness/stats/cells.py", "p = {name: _adjust(raw, tested) for name, raw in p.items()}", "p = dict(p)", (f"{GATE}::test_more_cells_ask_for_more",)),
    Mutant("gate", "harness/stats/collapse.py", "if old.min() >= CLEAR * error:", "if old.min() >= 0 * error:", (f"{COLLAPSE}::test_a_weak_baseline_is_said",)),
    Mutant("gate", "harness/results/gate/check.py", "if not np.array_equal(old, new):", "if len(old) != len(new):", (f"{GATE}::test_other_things_are_not_compared",)),
    Mutant("gate", "harness/results/gate/report.py", "skipped=cell.change is None", "skipped=False", (f"{TOLD}::test_junit_s_own_counts_are_those_of_its_cases",)),
    Mutant("gate", "harness/results/gate/report.py", "if cell.after is None]", "if cell.change is None]", (f"{TOLD}::test_every_format_counts_each_verdict_alike[json cells]",)),
    Mutant("gate", "harness/results/gate/check.py", "return (before, after) if None in shared else shared", "return shared", (f"{PARTS}::test_a_cell_of_which_both_sides_have_nothing_has_vanished_and_is_no_failure",)),
    Mutant("gate", "harness/results/gate/compare.py", "key = (file, rows.tobytes(), targets.tobytes())", 'key = (file, b"", targets.tobytes())', (f"{T}/results/gate/test_compare.py::test_cells_of_one_split_file_are_held_against_their_own_test_samples",)),
    Mutant("conclusion", "harness/leaderboard/conclusion.py", "elif len(worse) == len(found.gains):", "elif worse:", (f"{CONCLUSION}::test_the_table_in_the_docs_says_what_is_said[some behind]",)),
    Mutant("conclusion", "harness/leaderboard/conclusion.py", "(half / size) ** 2", "(half / size)", (f"{CONCLUSION}::test_seeds_that_would_decide_grow_with_the_square_of_the_interval",)),
    Mutant("conclusion", "harness/leaderboard/conclusion.py", "min(map(repeats_of, self", "max(map(repeats_of, self", (f"{CONCLUSION}::test_the_block_with_fewest_seeds_decides",)),
    Mutant("conclusion", "harness/leaderboard/ranking.py", "return splits if splits > 1 else len(block.seeds)", "return len(block.seeds)", (f"{CONCLUSION}::test_the_table_in_the_docs_says_what_is_said[two splits with one seed]",)),
    Mutant("run identity", "harness/api/records.py", "found = digest(self)[:16]", 'found = digest(self.model_dump(mode="json"))[1:17]', (f"{IDENTITY}::test_run_ids_are_those_of_the_golden_file[historic]",)),
    Mutant("run identity", "harness/api/records.py", "for name in self._left_out():", "for name in ():", (f"{IDENTITY}::test_run_ids_are_those_of_the_golden_file[historic]",)),
    Mutant("run identity", "harness/api/records.py", "    epochs: PositiveFloat = 15.0\n", "    epochs: PositiveFloat = 15.0\n    cooldown: float = 0.0\n", (f"{IDENTITY}::test_run_ids_are_those_of_the_golden_file[historic]",)),
    Mutant("run identity", "harness/benchmark/identity.py", "settings=dict(trial.settings),", "settings=suite.settings.get(strategy, {}),", (f"{IDENTITY}::test_run_ids_are_those_of_the_golden_file[paper-2024]",)),
    Mutant("run identity", "harness/benchmark/identity.py", "                    limit=request.limit,\n", "", (f"{IDENTITY}::test_run_ids_are_those_of_the_golden_file[paper-2024]",)),
    Mutant("verify", "harness/results/verify/agreement.py", "if away > own:", "if away > total:", (f"{VERIFY}::test_the_replays_say_how_far_a_record_may_differ",)),
    Mutant("verify", "harness/results/verify/context.py", "hexdigest() != named.sha256", 'hexdigest() == ""', (f"{VERIFY}::test_a_changed_logit_is_found",)),
    Mutant("verify", "harness/results/verify/runs.py", "if result.run_id != run_id:", "if False:", (f"{VERIFY}::test_a_changed_spec_is_found_by_the_run_id",)),
    Mutant("verify", "harness/results/verify/splits.py", "if given == expected:", "if set(given) <= set(expected):", (f"{VERIFY}::test_a_sample_left_out_is_found",)),
    Mutant("verify", "harness/results/verify/runs.py", "if figures_agree(stored, found):", "if True:", (f"{VERIFY}::test_a_changed_metric_is_found[<lambda>0-metrics]",)),
    Mutant("verify", "harness/results/verify/agreement.py", "if away > own:", "if away > own + 1:", (f"{VERIFY}::test_the_replays_say_how_far_a_record_may_differ",)),
)  # fmt: skip

OUTSIDE = (
    Mutant("plugins", "harness/plugins/provenance.py", "content = file.read_bytes().", "content = file.read_bytes()[:-1].", (f"{PROVENANCE}::test_by_hand", f"{PROVENANCE}::test_a_namespace_package")),
    Mutant("plugins", "harness/plugins/provenance.py", "        whole.update(hashlib.sha256(sources.name(file).encode()).digest())\n", "", (f"{PROVENANCE}::test_moving_a_file_changes_it",)),
    Mutant("plugins", "harness/plugins/provenance.py", 'folder.rglob("*.py")', 'folder.glob("*.py")', (f"{PROVENANCE}::test_any_change_of_code_changes_it",)),
    Mutant("plugins", "harness/plugins/provenance.py", "{platform.machine()}", "{platform.node()}", (f"{PROVENANCE}::test_nobody_and_no_place_is_named",)),
    Mutant("plugins", "harness/plugins/discovery.py", "FAULTS = (Exception, SystemExit)", "FAULTS = (Exception,)", (f"{REGISTRY}::test_a_plugin_that_cannot_be_imported_is_left_out",)),
    Mutant("plugins", "harness/plugins/registry.py", "    if strict:\n        loaded", "    if False:\n        loaded", (f"{REGISTRY}::test_strict_names_every_broken_plugin",)),
    Mutant("plugins", "harness/testing/promise.py", "    for verdict in unchecked:\n", "    for verdict in ():\n", (f"{KIT}::test_what_could_not_be_checked_is_no_success",)),
    Mutant("publish", "harness/results/privacy.py", "hmac.new(self.key, text", 'hmac.new(b"", text', (f"{PUBLISH}::test_texts_without_paths_ids_and_names",)),
    Mutant("publish", "harness/results/privacy.py", "f'{dataset}/{name}'", "name", (f"{PUBLISH}::test_texts_without_paths_ids_and_names",)),
    Mutant("publish", "harness/results/privacy.py", "_BARE.sub(shown, _QUOTED.sub(quoted, text))", "_QUOTED.sub(quoted, text)", (f"{PUBLISH}::test_texts_without_paths_ids_and_names",)),
    Mutant("publish", "harness/results/privacy.py", 'if REVISION.fullmatch(revision or "") else None', "", (f"{PUBLISH}::test_which_ids_are_public",)),
    Mutant("command line", "harness/cli/session.py", "Exit(error.exit_code)", "Exit(0)", (f"{SESSION}::test_an_error_of_the_harness_is_one_line",)),
    Mutant("command line", "harness/cli/session.py", "if not math.isfinite(number):", "if math.isnan(number):", (f"{NUMBERS}::test_options[data-cache---older-than-inf]",)),
    Mutant("command line", "harness/cli/session.py", "        if session.strict:\n", "        if False:\n", (f"{SESSION}::test_strict_plugins_holds_where_no_plugin_is_needed",)),
    Mutant("command line", "harness/cli/commands/bench.py", '@click.option("--limit", type=', '@click.option("--limits", "limit", type=', (f"{CALLS}/test_options.py::test_a_function_takes_the_options_of_its_command[bench]",)),
    Mutant("command line", "harness/cli/__init__.py", '        if arg == "":\n', "        if False:\n", (f"{SESSION}::test_an_empty_argument_is_told",)),
    Mutant("from Python", "harness/calls/arguments.py", "if least is not None and number < least:", "if False:", (f"{CALLS}/test_mistakes.py::test_no_number_below_the_least",)),
    Mutant("from Python", "harness/calls/bench.py", "    threads: int = 1,", "    threads: int = 2,", (f"{CALLS}/test_options.py::test_a_function_takes_the_options_of_its_command[bench]",)),
    Mutant("from Python", "harness/calls/results.py", "return html.escape(clean(text))", "return clean(text)", (f"{CALLS}/test_results.py::test_names_in_html_are_text",)),
    Mutant("from Python", "harness/calls/tables.py", "POINTS = 100.0", "POINTS = 1.0", (f"{CALLS}/test_results.py::test_differences_are_those_of_the_statistics_in_points",)),
    Mutant("external tests", "harness/leaderboard/drops.py", "targets[1] + targets[0].max() + 1", "targets[1]", (f"{T}/leaderboard/test_external.py::test_the_difference_is_external_less_test_and_its_error_that_of_both_sets",)),
    Mutant("external tests over splits", "harness/stats/splits.py", "apart, noise = apart & ~splits.common", "apart, noise = apart", (f"{T}/leaderboard/test_external.py::test_over_splits_it_is_that_of_plain_loops",)),
    Mutant("questions", "harness/leaderboard/questions.py", "if own >= units", "if own == units", (f"{T}/leaderboard/test_questions.py::test_rows_that_were_not_asked_for_more_stay_ranked",)),
    Mutant("external tests", "harness/data/on_disk/samples.py", "if bool(first.external) != bool(sample.external):", "if False:", (f"{T}/data/test_external.py::test_a_group_on_both_sides_is_an_error",)),
    Mutant("external tests", "harness/leaderboard/external.py", "if len(own) == wanted_runs(block):", "if own:", (f"{T}/leaderboard/test_external.py::test_a_row_that_lacks_a_run_has_no_figure_and_says_how_many",)),
)  # fmt: skip

PARTIAL = f"{T}/builtins/test_partial_strategies.py"


def partial(*names):
    return tuple(
        f"{PARTIAL}::test_twelve_steps_give_the_weights_of_a_loop_by_hand_and_the_rest_is_bit_equal[{name}]"
        for name in names
    )


FURTHER = f"{T}/builtins/test_further_strategies.py"


def further(name):
    return (f"{FURTHER}::test_twelve_steps_give_the_weights_of_a_loop_by_hand[{name}]",)


LAUNCH = (
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "if self.again and not worker.used and not busy:", "if self.again and not busy:", (f"{WORKERS}::test_a_run_whose_worker_died_is_tried_again_alone_when_all_else_is_done",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "self.again.append(_Again(self._try(spec), reason))", "self.queue.put(spec)", (f"{WORKERS}::test_a_run_that_ends_two_workers_has_failed_for_both_reasons",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "if before is None and not worker.predicted:", "if before is None:", (f"{WORKERS}::test_a_run_that_is_trained_is_not_trained_again",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", 'if message.event == "lost" and moved < MOVES:', 'if message.event == "lost":', (f"{WORKERS}::test_a_lost_machine_is_no_fault_of_a_run",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "    return told is not None and (told.spec.run_id, told.attempt) == (\n        task.spec.run_id,\n        task.attempt,\n    )", "    return told is not None and told.spec.run_id == task.spec.run_id", (f"{WORKERS}::test_what_comes_late_of_an_earlier_attempt_is_dropped",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "worker.until <= now:", "worker.until > now:", (f"{WORKERS}::test_a_run_that_takes_too_long_is_ended_and_no_other",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", '            self._fail(worker, held, "oom")', '            self._fail(worker, held, "failed")', (f"{WORKERS}::test_a_worker_over_its_memory_limit_is_ended",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "        if message.worker in self.gone:\n            return\n", "", (f"{WORKERS}::test_workers_that_are_ended_here_are_not_those_that_cannot_start",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "            task = self._send_next(message.worker)\n            self.events.receive(spec, message.event, message.value)\n", "            self.events.receive(spec, message.event, message.value)\n            task = self._send_next(message.worker)\n", (f"{WORKERS}::test_a_worker_has_its_next_run_before_an_outcome_is_stored_and_observers_hear_in_order",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "if not worker.spoiled and self.alone is None:", "if self.alone is None:", (f"{WORKERS}::test_a_spoiled_worker_is_left",)),
    Mutant("launchers", "harness/benchmark/launch/dispatch.py", "            if self.stillborn >= STILLBORN:", "            if self.stillborn > 10**9:", (f"{WORKERS}::test_workers_that_die_before_they_are_ready_end_the_call",)),
    Mutant("launchers", "harness/benchmark/listeners/events.py", "group = max(free, key=self._left)", "group = max(free, key=lambda one: len(self.waiting[one]))", (f"{WORKERS}::test_groups_go_out_by_their_work_and_stay_together",)),
    Mutant("launchers", "harness/benchmark/listeners/events.py", "if group is None or group not in self.waiting:", "if True:", (f"{WORKERS}::test_groups_go_out_by_their_work_and_stay_together",)),
    Mutant("launchers", "harness/benchmark/launch/places.py", "        if prepared.fingerprint != self.fingerprint:", "        if False:", (f"{PLACES}::test_other_data_are_no_data",)),
    Mutant("launchers", "harness/benchmark/launch/places.py", "replace(prepared.images, record=self.record, external=external)", "replace(prepared.images, external=external)", (f"{PLACES}::test_images_that_do_not_lie_there_are_made_of_their_declaration",)),
    Mutant("launchers", "harness/weights/__init__.py", "_sha256(path) == file.sha256", "True", (f"{PLACES}::test_weights_are_found_by_their_bytes",)),
)  # fmt: skip

ADAPTING = f"{T}/builtins/test_adapting_strategies.py"
TRANSFORMERS = f"{T}/engine/test_transformers.py"


def adapting(*names):
    return tuple(
        f"{ADAPTING}::test_twelve_steps_give_the_weights_of_a_loop_by_hand_and_the_rest_is_bit_equal[{name}]"
        for name in names
    )


NEWER = (
    Mutant("strategies", "plugins/harness_bitfit/__init__.py", 'info.kind == "bias" or (', 'info.kind == "kernel" or (', partial("bitfit")),
    Mutant("strategies", "plugins/harness_bitfit/__init__.py", '(info.kind == "norm" and name.endswith(".bias"))', 'info.kind == "norm"', partial("bitfit")),
    Mutant("strategies", "plugins/harness_bitfit/__init__.py", "(*model.head, *below), 1.0", "(*model.head, *below), 2.0", partial("bitfit")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", 'info.kind == "norm"]', 'info.kind != "norm"]', partial("norm-only")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "(*model.head, *norms), 1.0", "(*model.head, *norms), 0.9", partial("norm-only")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "train=rates, norm=self.norm", "train=rates", partial("norm-only-eval")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "stages[-self.k :]", "stages[: self.k]", partial("last-k")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "(*stages[-self.k :], *model.head)", "(*stages[-self.k :],)", partial("last-k")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "dict.fromkeys(learning, 1.0)", "dict.fromkeys(learning, 1.1)", partial("last-k")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "number + 1: name", "number + 2: name", partial("single-stage")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "number - count: name", "-number - 1: name", partial("single-stage-last")),
    Mutant("strategies", "plugins/harness_partial_tuning/__init__.py", "dict.fromkeys((chosen, *model.head), 1.0)", "{chosen: 1.0}", partial("single-stage")),
    Mutant("strategies", "plugins/harness_layer_decay/__init__.py", "(depth - at)", "at", partial("layer-decay")),
    Mutant("strategies", "plugins/harness_layer_decay/__init__.py", "self.decay ** (depth", "self.decay ** -(depth", partial("layer-decay")),
    Mutant("strategies", "plugins/harness_layer_decay/__init__.py", "len(model.stages) - 1", "len(model.stages)", partial("layer-decay")),
    Mutant("strategies", "plugins/harness_delta/__init__.py", "self.alpha / 2 *", "self.alpha *", further("delta")),
    Mutant("strategies", "plugins/harness_delta/__init__.py", "batch.targets) + self.alpha", "batch.targets) - self.alpha", further("delta")),
    Mutant("strategies", "plugins/harness_delta/__init__.py", "batch.loss(logits, batch.targets)", "F.cross_entropy(logits, batch.targets)", further("delta")),
    Mutant("strategies", "plugins/harness_delta/__init__.py", 'train={"*": 1.0}', 'train={"head": 1.0}', further("delta")),
    Mutant("strategies", "plugins/harness_delta/__init__.py", "decay=dict.fromkeys(head, 0.0)", "decay={}", further("delta")),
    Mutant("strategies", "plugins/harness_wise_ft/__init__.py", '{"*": self.ft_rate}', '{"*": 1.1 * self.ft_rate}', further("wise-ft")),
    Mutant("strategies", "plugins/harness_wise_ft/__init__.py", 'begin="best"', 'begin="here"', further("wise-ft")),
    Mutant("strategies", "plugins/harness_wise_ft/__init__.py", "dict.fromkeys(model.head, 1.0)", "dict.fromkeys(model.stages, 1.0)", further("wise-ft")),
    Mutant("strategies", "plugins/harness_wise_ft/__init__.py", '"mix", ("lp", "ft")', '"mix", ("ft", "lp")', further("wise-ft")),
    Mutant("strategies", "harness/engine/solver.py", "torch.lerp(first[name], tensor, share)", "torch.lerp(first[name], tensor, share**2)", further("wise-ft")),
    Mutant("strategies", "harness/engine/solver.py", "    if norms:\n", "    if False:\n", further("wise-ft")),
    Mutant("strategies", "harness/engine/solver.py", 'if f"{name}.{buffer}" in second', "if False", further("wise-ft")),
    Mutant("strategies", "harness/engine/state.py", "        if self.best is not None:\n            return self.best.tensors", "        if False:\n            return {}", (f"{T}/engine/test_interpolate.py::test_what_is_kept_is_the_best_of_its_own_phase",)),
    Mutant("strategies", "plugins/harness_auto_rgn_biotune/__init__.py", "keep_optimizer=True", "keep_optimizer=False", further("auto-rgn-biotune")),
    Mutant("strategies", "plugins/harness_auto_rgn_biotune/__init__.py", 'norm="train"', 'norm="eval"', further("auto-rgn-biotune")),
    Mutant("strategies", "plugins/harness_auto_rgn_biotune/__init__.py", 'anneal="run"', 'anneal="phase"', further("auto-rgn-biotune")),
    Mutant("strategies", "plugins/harness_auto_rgn_biotune/__init__.py", "norms[name] / info.norm", "norms[name]", further("auto-rgn-biotune")),
    Mutant("strategies", "plugins/harness_auto_rgn_biotune/__init__.py", "rgn[info.module] / largest if", "rgn[info.module] if", further("auto-rgn-biotune")),
    Mutant("strategies", "plugins/harness_auto_rgn_biotune/__init__.py", 'name.rpartition(".")[2] == "weight"', 'info.kind == "kernel"', further("auto-rgn-biotune")),
    Mutant("strategies", "plugins/harness_lora/__init__.py", "self.alpha / self.rank, rng", "self.alpha * self.rank, rng", adapting("lora-toy")),
    Mutant("strategies", "plugins/harness_lora/__init__.py", "list(model)[:-1]", "list(model)[1:-1]", adapting("lora-toy-tokens")),
    Mutant("strategies", "plugins/harness_lora/__init__.py", "float(info.stage not in model.head)", "2 * float(info.stage not in model.head)", adapting("lora-toy")),
    Mutant("strategies", "plugins/harness_lora/__init__.py", "float(info.stage not in model.head)", "1.0", (f"{ADAPTING}::test_a_stage_that_is_new_learns_as_it_is[lora]",)),
    Mutant("strategies", "plugins/harness_lora/__init__.py", 'PARTS = (".lora_a", ".lora_b")', 'PARTS = (".lora_b",)', adapting("lora-toy")),
    Mutant("strategies", "plugins/harness_lora/__init__.py", "| dict.fromkeys(model.head, 1.0), norm=self.norm", "| dict.fromkeys(model.head, 1.0)", adapting("lora-toy")),
    Mutant("strategies", "plugins/harness_lora/low_rank.py", "return kernel + self.scale", "return kernel - self.scale", adapting("lora-toy"), survives="B begins at zero: the sign of its update is its own to learn"),
    Mutant("strategies", "plugins/harness_lora/low_rank.py", "into**-0.5", "out**-0.5", adapting("lora-toy")),
    Mutant("strategies", "plugins/harness_adapter/__init__.py", 'info.kind == "norm" or any(part', "any(part", adapting("adapter-toy")),
    Mutant("strategies", "plugins/harness_adapter/__init__.py", "(*model.head, *learning), 1.0", "(*model.head, *learning), 0.5", adapting("adapter-toy")),
    Mutant("strategies", "plugins/harness_adapter/__init__.py", "train=rates, norm=self.norm", "train=rates", adapting("adapter-eval-toy")),
    Mutant("strategies", "plugins/harness_adapter/bottleneck.py", "return h + added", "return h - added", adapting("adapter-toy")),
    Mutant("strategies", "plugins/harness_adapter/bottleneck.py", "SIGMA = 0.01", "SIGMA = 0.1", adapting("adapter-toy")),
    Mutant("strategies", "plugins/harness_adapter/bottleneck.py", "layer.out_features <= layer.in_features", "layer.out_features < layer.in_features", adapting("adapter-toy-tokens")),
    Mutant("adapted weights", "harness/engine/model.py", "value: Tensor = getattr(module, name)", "value: Tensor = parts.original", adapting("lora-toy")),
    Mutant("adapted weights", "harness/engine/training.py", "with torch.no_grad(), state.numerics.autocast():\n        return merged", "with torch.no_grad():\n        return merged", (f"{ADAPTING}::test_the_plain_network_predicts_with_the_kept_weights_what_was_tested[toy-bf16]",)),
    Mutant("adapted weights", "harness/engine/evaluate.py", "if not state.network.as_built or stage", "if stage", (f"{ADAPTING}::test_after_a_probe_on_cached_features_updates_begin_where_the_head_has_come_to",)),
    Mutant("transformers", "harness/engine/training.py", 'global_seed(spec, "dropout", device),\n    ):', 'global_seed(spec, "drop", device),\n    ):', (f"{TRANSFORMERS}::test_paths_are_dropped_by_the_runs_seed_as_in_a_plain_loop",)),
    Mutant("transformers", "harness/engine/phase.py", "stage.train(name in self.learning_stages)", "stage.train(mode=True)", (f"{TRANSFORMERS}::test_paths_of_frozen_stages_are_not_dropped_and_their_tokens_are_kept_once",)),
    Mutant("several tensors", "harness/engine/model.py", "self.kind, self.shapes = kind,", "self.kind, self.shapes = tuple,", (f"{TRANSFORMERS}::test_several_tensors_are_kept_once_where_they_are_a_list",)),
    Mutant("preprocessing", "harness/api/records.py", 'if self.preprocessing == "protocol" or declared', "if declared", (f"{T}/api/test_preprocessing.py::test_the_protocol_counts_unless_it_says_otherwise",)),
    Mutant("preprocessing", "harness/api/records.py", "max(size, round(self.resize * size / self.crop))", "max(size, self.resize)", (f"{T}/api/test_preprocessing.py::test_what_is_declared_counts_and_the_shorter_side_keeps_its_proportion",)),
    Mutant("forecast", "harness/benchmark/forecast/work.py", "(1 + reference) * self.forward", "self.forward", (f"{T}/benchmark/test_work.py::test_a_step_towards_the_frozen_start_counted_by_hand",)),
    Mutant("forecast", "harness/engine/needs.py", "if strategy is None or", "if True or", (f"{T}/engine/test_needs.py::test_what_a_strategy_adds_is_counted",)),
    Mutant("forecast", "harness/benchmark/forecast/outline.py", "kept + (directive.reference", "(directive.reference", (f"{T}/benchmark/test_sizing.py::test_copies_of_the_weights_that_phases_hold_are_planned",)),
    Mutant("forecast", "harness/benchmark/listeners/remaining.py", "now - run.began - self.beside", "now - run.began", (f"{T}/benchmark/test_progress.py::test_what_a_run_takes_beside_its_work_is_no_pace",)),
    Mutant("forecast", "harness/benchmark/listeners/remaining.py", "TRUST_MEASURED if self.pace.measured else TRUST_ASSUMED", "TRUST_ASSUMED", (f"{T}/benchmark/test_progress.py::test_a_pace_that_was_measured_weighs_more_than_first_steps",)),
    Mutant("plugins", "harness/plugins/registry.py", 'digest({"plugin": own, **others}) if others else own', "own", (f"{T}/plugins/test_backbone_by_name.py::test_other_code_that_makes_it_is_in_its_source",)),
)  # fmt: skip

SPLITTING, RESUME = f"{T}/engine/test_splitting.py", f"{T}/engine/test_resume.py"
PARTS_BY_HAND = f"{SPLITTING}::test_parts_give_the_weights_of_whole_batches_by_hand"
WHOLE = f"{SPLITTING}::test_masks_draws_and_looks_are_those_of_whole_batches"
BITS = f"{RESUME}::test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted"
RECOVERY = (
    Mutant("out of memory", "harness/engine/steps.py", "loss = loss * (criterion.mass(targets) / whole)", "loss = loss / self.state.parts", (f"{PARTS_BY_HAND}[False-0.0-3]",)),
    Mutant("out of memory", "harness/engine/state.py", "return self.class_weights[targets].sum()", "return len(targets)", (f"{PARTS_BY_HAND}[True-0.1-2]",)),
    Mutant("out of memory", "harness/engine/recovery/splitting.py", "x * self.whole[layer][self.rows]", "x * self.whole[layer][: len(x)]", (f"{WHOLE}[dropout]",)),
    Mutant("out of memory", "harness/engine/recovery/splitting.py", "    if drew:\n", "    if False:\n", (f"{SPLITTING}::test_what_parts_would_change_is_refused_with_the_reason[own draws]",)),
    Mutant("out of memory", "harness/benchmark/launch/out_of_memory.py", "parts = 1 if tried == 1 else 2 * parts", "parts = 2 * parts", (f"{T}/benchmark/test_out_of_memory.py::test_what_is_tried_in_turn",)),
    Mutant("resume", "harness/engine/phase.py", 'snapshot.put_generators(self.state, kept["generators"])', "pass", (f"{BITS}[dropout-4-none]",)),
    Mutant("resume", "harness/engine/phase.py", 'first = budget.steps if self.kept is None else self.kept["first"]', "first = budget.steps", (f"{BITS}[second phase-9-graph]",)),
    Mutant("resume", "harness/engine/phase.py", "self.optimizer.restore(snapshot", "dict(snapshot", (f"{BITS}[second phase-9-graph]",)),
    Mutant("resume", "harness/engine/recovery/recorded.py", "        network.load({n: t.to(own[n].device) for n, t in self.network.items()})\n", "", (f"{RESUME}::test_looks_at_the_network_are_those_of_the_interrupted_run[14]",)),
    Mutant("resume", "harness/engine/recovery/course.py", 'spelt(directive) != start["directive"] or', "", (f"{RESUME}::test_a_strategy_that_asks_for_other_phases_begins_anew[other rates]",)),
    Mutant("resume", "harness/utils/unfinished.py", "if found != digest:", "if False:", (f"{RESUME}::test_damaged_files_are_named_and_the_run_begins_anew[5.state-5.state is damaged]",)),
)  # fmt: skip

MUTANTS = (
    *ORACLES,
    *PLUGINS,
    *RATES,
    *PHASES,
    *NETWORK,
    *DATA,
    *STATISTICS,
    *RESULTS,
    *OUTSIDE,
    *NEWER,
    *LAUNCH,
    *RECOVERY,
)
