"""The keys under which training code and the known frameworks state things, the surest first; lower case, `_` for `-`."""

from __future__ import annotations

#: The epoch.
EPOCH = tuple(
    """
    epoch current_epoch cur_epoch epochs_trained completed_epochs trained_epochs epoch_num epoch_idx epoch_id n_epoch
    num_epoch last_epoch ep start_epoch best_epoch
""".split()
)
#: The step.
STEP = tuple(
    """
    global_step step iteration iter steps iters iterations iter_num global_steps global_iter n_iter niter num_updates
    updates current_iter current_step cur_iter it train_step total_iter num_steps total_steps
""".split()
)
#: The date.
DATE = tuple(
    """
    date timestamp datetime time created_at saved_at created save_time training_date train_date
""".split()
)
#: The data set.
DATASET = tuple(
    """
    dataset dataset_name data_name data_set train_dataset corpus env_name env_id env gym_id
""".split()
)
#: A path that may end with the name of a data set.
DATA_PATH = tuple(
    """
    data data_path data_dir data_root root_path
""".split()
)
#: The model.
NAME = tuple(
    """
    model_name model_class class_name arch architecture network net model name model_type backbone
""".split()
)
#: The architecture.
ARCH = tuple(
    """
    arch architecture model_class class_name model_type network backbone model
""".split()
)
#: Mappings of settings.
HYPER = tuple(
    """
    hyperparams hyper_parameters hyperparameters hparams model_args model_kwargs model_config init_args config cfg args
    opt options opts train_args training_args arguments kwargs params param conf settings flags best_params model_params
    ds_config train_config experiment_config hp
""".split()
)
#: Mappings that hold the fields above one level down.
NESTED = tuple(
    """
    meta metadata extra_state extra info train_state training_state trainer_state state progress model_info hook_msgs
    train_iterator checkpoint training_info
""".split()
)
#: Mappings whose numbers are metrics whatever they are called.
METRICS = tuple(
    """
    metrics metric results result scores performance eval_results best_metrics val_metrics valid_metrics
    validation_metrics test_metrics train_metrics epoch_metrics eval_metrics evaluation final_metrics train_results
""".split()
)
#: Mappings whose numbers are metrics when their keys say so.
MAYBE_METRICS = tuple(
    """
    stats logs log losses history train_history training_history best val test train hist
""".split()
)

#: Fields that are texts, with their keys.
TEXTS = (("model_name", NAME), ("architecture", ARCH), ("dataset", DATASET), ("stage", ("stage",)))
#: Settings that people put at the top level.
SETTING = frozenset(
    """
    lr learning_rate batch_size bs seed dropout hidden_size hidden_dim num_layers n_layers num_classes n_classes nc
    input_size input_dim output_size output_dim in_features out_features in_channels out_channels vocab_size
    embedding_dim embed_dim weight_decay momentum optimizer_name num_heads n_heads d_model kernel_size sequence_length
    seq_len max_len image_size img_size patch_size hidden_units hidden_layers hidden_sizes layers activation
    bidirectional feature_dim latent_dim window_size num_features n_features units gamma
""".split()
)
#: Numbers that are no metrics, also among metrics.
NO_METRIC = frozenset((*EPOCH, *STEP, *DATE, "lr", "learning_rate", "num_samples", "n", "count", "seed", "batch_size"))
#: Names of models that name none.
GENERIC_NAMES = frozenset(("model", "net", "network", "module", "main", "default", "none", "train", "test"))
#: Class names of the data, which are counted.
CLASSES = ("class_to_idx", "classes", "class_names", "labels", "idx_to_class", "label_map")
#: Version of a framework → its name.
FRAMEWORKS = (
    ("pytorch_lightning_version", "pytorch-lightning"),
    ("lightning_version", "lightning"),
    ("mmengine_version", "mmengine"),
    ("mmcv_version", "mmcv"),
    ("ds_version", "deepspeed"),
    ("composer_version", "composer"),
    ("transformers_version", "transformers"),
)
