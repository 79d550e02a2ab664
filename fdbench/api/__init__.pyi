from .architectures import layers
from .assessment import Assessment, assess_models
from .attacks import attack, autoattack, foolbox, pgd, run_attack, transfer
from .black_box import OpenedSet, judge, make_set, use_set
from .checkpoints import classify, import_release, read_release, release_facts, weights_behind
from .claims import verify_images
from .comparison import Decision, attack_settings, compare_runs, compare_until_decided
from .evaluation import attack_models, evaluate, security_curve
from .examination import doctor, doctor_models, run_folder, verify
from .exporting import EXPORTS, export
from .features import FeatureRequest, feature_figures
from .information import information
from .names import (
    attack_parameters,
    attack_summaries,
    choices,
    data_kinds,
    foolbox_list,
    foolbox_parameters,
    targets_named,
)
from .opening import load_model
from .reports import objections, read_runs, report, results_of
from .requests import (
    AssessmentRequest,
    AttackRequest,
    Compute,
    DataRequest,
    DoctorRequest,
    RunRequest,
    SetRequest,
)
from .training import estimate_training, is_first_process, train, train_attacker
from .viewing import viewer

__all__ = [
    "EXPORTS",
    "Assessment",
    "AssessmentRequest",
    "AttackRequest",
    "Compute",
    "DataRequest",
    "Decision",
    "DoctorRequest",
    "FeatureRequest",
    "OpenedSet",
    "RunRequest",
    "SetRequest",
    "assess_models",
    "attack",
    "attack_models",
    "attack_parameters",
    "attack_settings",
    "attack_summaries",
    "autoattack",
    "choices",
    "classify",
    "compare_runs",
    "compare_until_decided",
    "data_kinds",
    "doctor",
    "doctor_models",
    "estimate_training",
    "evaluate",
    "export",
    "feature_figures",
    "foolbox",
    "foolbox_list",
    "foolbox_parameters",
    "import_release",
    "information",
    "is_first_process",
    "judge",
    "layers",
    "load_model",
    "make_set",
    "objections",
    "pgd",
    "read_release",
    "read_runs",
    "release_facts",
    "report",
    "results_of",
    "run_attack",
    "run_folder",
    "security_curve",
    "targets_named",
    "train",
    "train_attacker",
    "transfer",
    "use_set",
    "verify",
    "verify_images",
    "viewer",
    "weights_behind",
]
