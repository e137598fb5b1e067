"""The classes of the docstring tasks as data: the dotted names that a module's name begins with decide its class.

Departure: people labelled the paper's tasks; here the place of a text in its package does, which costs nothing and
depends, as the paper's tasks do, on knowing the domain.
"""

# A topic is a subpackage with text enough, or a whole small package.
TOPICS = {
    "deep_learning": (
        "transformers.models transformers.generation transformers.exporters transformers.integrations torch.distributed"
        " torch._inductor torch._dynamo torch._functorch torch.ao torch.fx torch.nn torch.onnx torch.utils"
        " torch._torch_docs peft accelerate"
    ),
    "symbolic_math": (
        "sympy.physics sympy.polys sympy.core sympy.solvers sympy.combinatorics sympy.integrals sympy.functions"
        " sympy.matrices sympy.utilities sympy.geometry sympy.ntheory sympy.simplify sympy.stats sympy.tensor"
        " sympy.printing sympy.plotting mpmath"
    ),
    "numerical": (
        "scipy.stats scipy.signal scipy.optimize scipy.special scipy.sparse scipy.interpolate scipy.linalg"
        " scipy.spatial scipy.io scipy.ndimage scipy.integrate numpy._core numpy.lib numpy.polynomial numpy.ma"
        " numpy.distutils"
    ),
    "data_analysis": (
        "pandas.core pandas.io networkx.algorithms networkx.generators networkx.classes sklearn.utils sklearn.metrics"
        " sklearn.linear_model sklearn.ensemble sklearn.datasets sklearn.preprocessing matplotlib.axes"
        " matplotlib.backends matplotlib.transforms matplotlib.colors mpl_toolkits seaborn"
    ),
}

_IMAGE_MODELS = (
    "beit conditional_detr convnext d_fine dab_detr data2vec deformable_detr deit depth_anything depth_pro detr dinov2"
    " dinov3_vit dpt efficientloftr efficientnet eomt focalnet glpn grounding_dino hiera ijepa levit lightglue"
    " mask2former maskformer mobilenet_v2 mobilevit oneformer owlv2 owlvit perceiver poolformer prompt_depth_anything"
    " pvt regnet resnet rf_detr rt_detr rt_detr_v2 sam sam2 sam2_video sam3 sam3_video sam_hq sapiens2 segformer seggpt"
    " superglue superpoint swin swin2sr swinv2 table_transformer textnet tvp upernet videomae vilt vit vit_mae vitmatte"
    " vitpose vivit vjepa2 yolos zoedepth"
).split()
_SOUND_MODELS = (
    "audio_spectrogram_transformer bark clap clvp csm dac dia encodec granite_speech hubert kyutai_speech_to_text mimi"
    " moonshine moshi musicgen musicgen_melody nemotron3_diarization parakeet pop2piano qwen2_audio seamless_m4t"
    " seamless_m4t_v2 sew speech_to_text speecht5 unispeech univnet vibevoice vits voxtral wav2vec2 wav2vec2_bert"
    " wav2vec2_conformer wavlm whisper xcodec"
).split()

# An area is a field of the domain: a part of a subpackage, or parts of several. The first that fits is the class.
AREAS = {
    "deep_learning": {
        "tensor parallelism": "torch.distributed.tensor torch.distributed._shard transformers.distributed",
        "sharded data": "torch.distributed.fsdp torch.distributed._composable torch.distributed.algorithms"
        " torch.nn.parallel torch.distributed.optim",
        "checkpoints": "torch.distributed.checkpoint torch.serialization transformers.core_model_loading",
        "launching": "torch.distributed.elastic torch.distributed.launcher torch.distributed.run accelerate.launchers"
        " accelerate.commands",
        "collectives": "torch.distributed",
        "quantization": "torch.ao transformers.quantizers transformers.utils.quantization_config",
        "layers": "torch.nn",
        "adapters": "peft",
        "graph passes": "torch.fx torch._inductor.fx_passes torch._functorch",
        "kernels": "torch._inductor",
        "tracing": "torch._dynamo torch.export torch._export torch.jit",
        "exchange formats": "torch.onnx transformers.exporters",
        "generation": "transformers.generation transformers.cache_utils",
        "image models": " ".join(f"transformers.models.{name}" for name in _IMAGE_MODELS),
        "sound models": " ".join(f"transformers.models.{name}" for name in _SOUND_MODELS),
        "text and mixed models": "transformers.models",
        "tensor operations": "torch._torch_docs torch._tensor_docs torch.functional",
        "training": "transformers.trainer transformers.training_args transformers.optimization torch.optim accelerate"
        " transformers.trainer_pt_utils transformers.trainer_utils",
    },
    "symbolic_math": {
        "mechanics": "sympy.physics.mechanics sympy.physics.biomechanics sympy.physics.vector"
        " sympy.physics.continuum_mechanics",
        "control": "sympy.physics.control",
        "quantum physics": "sympy.physics",
        "differential equations": "sympy.solvers.ode sympy.solvers.pde sympy.solvers.deutils sympy.holonomic",
        "equations": "sympy.solvers",
        "linear algebra": "sympy.matrices sympy.polys.matrices mpmath.matrices sympy.liealgebras sympy.algebras",
        "number fields": "sympy.polys.numberfields sympy.polys.domains sympy.polys.agca",
        "polynomials": "sympy.polys",
        "groups": "sympy.combinatorics",
        "numbers and ciphers": "sympy.ntheory sympy.crypto",
        "special functions": "sympy.functions.special sympy.functions.combinatorial mpmath.functions",
        "elementary functions": "sympy.functions sympy.simplify",
        "integrals and series": "sympy.integrals sympy.series sympy.concrete sympy.calculus mpmath.calculus",
        "geometry": "sympy.geometry sympy.vector sympy.diffgeom sympy.tensor",
        "probability": "sympy.stats",
        "logic": "sympy.logic sympy.assumptions sympy.sets sympy.categories",
        "expressions": "sympy.core",
        "code and plots": "sympy.printing sympy.codegen sympy.parsing sympy.plotting sympy.utilities",
    },
    "numerical": {
        "distributions": "scipy.stats._continuous_distns scipy.stats._discrete_distns scipy.stats._multivariate"
        " scipy.stats._distn_infrastructure scipy.stats._distribution_infrastructure"
        " scipy.stats._probability_distribution scipy.stats._new_distributions scipy.stats._qmc scipy.stats._sampling",
        "statistical tests": "scipy.stats",
        "orthogonal polynomials": "numpy.polynomial numpy.lib._polynomial_impl scipy.special._orthogonal",
        "special functions": "scipy.special",
        "filters": "scipy.signal._filter_design scipy.signal._fir_filter_design scipy.signal._signaltools"
        " scipy.signal._ltisys scipy.signal._lti_conversion scipy.signal._savitzky_golay",
        "spectra": "scipy.signal scipy.fft numpy.fft scipy.fftpack",
        "sparse matrices": "scipy.sparse",
        "linear algebra": "scipy.linalg numpy.linalg",
        "optimization": "scipy.optimize scipy._lib.cobyqa scipy._lib.pyprima",
        "interpolation": "scipy.interpolate",
        "integration": "scipy.integrate scipy.differentiate",
        "spatial data": "scipy.spatial scipy.cluster",
        "images": "scipy.ndimage",
        "masked arrays": "numpy.ma",
        "files": "scipy.io numpy.lib._npyio_impl numpy.lib._format_impl numpy.lib._datasource numpy.lib.recfunctions",
        "compilation": "numpy.distutils numpy.f2py",
        "arrays": "numpy._core numpy.lib numpy.matrixlib",
    },
    "data_analysis": {
        "data frames": "pandas.core.frame pandas.core.series pandas.core.generic",
        "indexes": "pandas.core.indexes pandas.core.indexing",
        "column types": "pandas.core.arrays pandas.core.dtypes",
        "groups and windows": "pandas.core.groupby pandas.core.window pandas.core.resample pandas.core.apply",
        "strings and shapes": "pandas.core.strings pandas.core.reshape",
        "files": "pandas.io",
        "paths and flows": "networkx.algorithms.shortest_paths networkx.algorithms.connectivity"
        " networkx.algorithms.components networkx.algorithms.flow networkx.algorithms.traversal"
        " networkx.algorithms.simple_paths networkx.algorithms.cycles networkx.algorithms.distance_measures",
        "centrality and communities": "networkx.algorithms.centrality networkx.algorithms.community"
        " networkx.algorithms.link_analysis networkx.algorithms.cluster networkx.algorithms.assortativity",
        "matchings and trees": "networkx.algorithms",
        "graph generators": "networkx.generators",
        "linear models": "sklearn.linear_model sklearn.svm sklearn.discriminant_analysis sklearn.gaussian_process",
        "tree ensembles": "sklearn.ensemble sklearn.tree",
        "clusters and components": "sklearn.cluster sklearn.decomposition sklearn.manifold sklearn.mixture"
        " sklearn.neighbors sklearn.cross_decomposition",
        "scores and validation": "sklearn.metrics sklearn.model_selection",
        "features": "sklearn.preprocessing sklearn.feature_extraction sklearn.feature_selection sklearn.impute"
        " sklearn.compose",
        "axes": "matplotlib.axes matplotlib.pyplot matplotlib.figure mpl_toolkits",
        "artists": "matplotlib.patches matplotlib.collections matplotlib.lines matplotlib.text matplotlib.artist"
        " matplotlib.offsetbox matplotlib.path matplotlib.transforms",
        "colours and ticks": "matplotlib.colors matplotlib.cm matplotlib.colorbar matplotlib.colorizer"
        " matplotlib.ticker matplotlib.scale matplotlib.axis matplotlib.dates",
        "backends": "matplotlib.backends matplotlib.backend_bases matplotlib.widgets",
        "statistical plots": "seaborn pandas.plotting",
    },
}


def topic_of(domain: str, module: str) -> str | None:
    """Return the class of the domain's topic task that a module belongs to, if any."""
    return next((topic for topic in TOPICS[domain].split() if _is_within(module, topic)), None)


def area_of(domain: str, module: str) -> str | None:
    """Return the class of the domain's area task that a module belongs to, if any."""
    found = (area for area, names in AREAS[domain].items() if any(_is_within(module, name) for name in names.split()))
    return next(found, None)


def _is_within(module: str, name: str) -> bool:
    return f"{module}.".startswith(f"{name}.")
