"""The vocabulary of file names: model families, data sets, and the words that say nothing.

General words, not a list of files: a family matches by its stem ("…net", "…former"), a data set by its written name with
the separators taken out ("fashion_mnist", "FashionMNIST").
"""

from __future__ import annotations

#: Endings that architectures share; a word of this ending is one unless it is a data set.
FAMILY_ENDINGS = (
    "net", "former", "formers", "lstm", "gru", "rnn", "cnn", "mlp", "bert", "gpt", "yolo", "gan", "vae", "vit", "ssd",
    "unet", "encoder", "decoder", "transformer", "mixer", "mamba", "nerf", "llama", "diffusion", "ddpm", "flow",
    "classifier", "detector", "regressor", "generator", "discriminator", "predictor", "hourglass", "gnn", "gcn", "fpn",
    "nets", "capsule", "autoencoder",
)  # fmt: skip
#: Beginnings that are followed by a number or a size ("resnet50d", "yolov5s", "wav2vec2").
FAMILY_STARTS = (
    "resnet", "resnext", "yolo", "efficientnet", "mobilenet", "densenet", "deeplab", "regnet", "convnext", "inception",
    "wav2vec", "hifigan", "bert", "roberta", "deit", "beit", "vgg", "unet", "wideresnet", "shufflenet", "squeezenet",
    "mnasnet", "swin", "transformer", "encoder", "linear", "vitdet", "sam2", "tacotron", "fastspeech", "seresnet",
    "seresnext", "hrnet", "repvgg",
)  # fmt: skip
#: Families that are told by the whole word only.
ARCHITECTURES = frozenset("""
    a2c a3c actor ae agw airl albert alexnet alignn alphazero amoebanet ann arcface attention attn autoencoder autoformer
    bart bcq beit bert biggan bigru bigvgan bilstm birnn bisenet bisenetv2 blip bloom byol c3d c51 cait carn cascadercnn
    centernet cgcnn chgnet classifier clip cnn coatnet conformer convnext convtasnet cornernet cosface cql crepe crf critic
    crnn crossvit csdarknet cspnet ctc ctpn cvae cyclegan darknet darknet53 dbnet dcgan ddim ddpg ddpm ddqn ddrnet deberta
    decoder deepar deeplab deeplabv3 deeplabv3plus deepspeech deformable deit demucs densenet detr dgcnn diffusion dino
    dinov2 discriminator distilbert dnn dpt dqn dreamer dvector east ecapa edsr efficientdet effnet effnetv2 electra encodec
    encoder enet erfnet esrgan facenet falcon fasterrcnn fastspeech fastspeech2 fcn fcos flownet flownet2 fnn fpn fsrcnn
    gail gan gat gcn gemma generator ghostnet gin glowtts gmlp googlenet gpt gpt2 gpt3 gptneo graphsage gru hat hifigan
    hourglass hrnet hrnetv2 hubert i3d icnet imdn impala inception informer insightface iql iqn iresnet jasper kan ldm lenet
    levit lightgbm linear linknet llama llama2 llama3 loftr logreg lstm m11 m18 m3 m34 m3gnet m5 mace maddpg mae mamba mappo
    mask2former maskrcnn maxvit megnet melgan midas mistral mixtral mlp mlpmixer mnasnet mobilevit moco mocov2 mocov3
    monodepth monodepth2 muzero mvit nanodet nasnet nbeats nequip nerf nfnet ngp nnunet ocrnet ofa openpose osnet pan
    patchtst pcb perceptron phi pix2pix pnasnet pointnet pointpillars pointrend policy poolformer posec3d ppo preresnet
    proxylessnas psenet pspnet pvt pwcnet qmix qrdqn quartznet qwen r2plus1d r3d raft rainbow rcan rcnn rdn realesrgan
    regnet reinforce resmlp resnest resnext retinanet rfb rlfn rnn rnnt roberta rtmdet rwkv sac sam san schnet segformer
    segnet senet seq2seq seresnet setr shufflenet siamese simclr simsiam sknet slowfast slowonly snn solo solov2 span
    squeezenet srcnn srgan ssd ssdlite stgcn stylegan stylegan2 stylegan3 superglue superpoint svtr swav swin swinir
    swinunetr swinv2 t5 tabnet tabtransformer tacotron tacotron2 tcn td3 tft timesformer tinierssd tinyssd tinyyolo tnt
    transformer transreid transunet trba tresnet triplet trocr trpo tsm tsn twins unet unet3d unetpp unetr upernet vae vdn
    vdsr vgg vit vits vnet voxelnet vqvae wav2vec wav2vec2 waveglow wavenet wavernn wavlm wgan whisper wrn x3d xception xlm
    xlnet xvector yolact yolox zipformer
""".split())  # fmt: skip
#: Data sets and environments, separators taken out.
DATASETS = frozenset("""
    300w abide acdc acrobot activitynet ade20k adni adult afdb afdb2 affectnet afhq afhqv2 aflw agnews aic aircraft aishell
    aishell1 aishell2 aishell3 alpaca amazon amazonbook ami amos anet ani1x ani2x antmaze anymal apolloscape aptos aptos2019
    argoverse argoverse2 asl asterix asvspoof asvspoof2019 asvspoof2021 asvspoof5 atari audiocaps audioset ava avav2 avazu
    bace bach bbbp bccd bci bci2a bci2b bciciv bciciv2a bciciv2b bciiv2a bdd bdd100k bdd100kdet beamrider bearing
    bigearthnet bindingdb bipedalwalker birdclef blackjack blendedmvs bloodmnist bookcorpus boolq boston botiot brats
    brats2018 brats2019 brats2020 brats2021 breakfast breakhis breakout breastcancer bsd100 bsd500 bsd68 bsds bsds500 btcv
    btsd busi c4 californiahousing caltech101 caltech256 calvin camelyon16 camelyon17 camvid carbon24 carla carracing
    cars196 cartpole casia casiawebface casp14 cassava cath cats catsdogs cbisddsm cc12m cc3m celeba celebahq celebamask
    celebamaskhq census chairs chapman charades charadesego chasedb1 chbmit chembl chestmnist chestxray chestxray14 chexpert
    cicids cicids2017 ciciot cifar cifar10 cifar100 cifar100c cifar10c cifar10dvs cinc2017 cinic10 citeseer city cityscapes
    ckplus clevr cliffwalking clintox clotho cmu cnceleb cnndailymail cnndm coco coco128 coco2014 coco2017 cocostuff
    cocostuff10k cocostuff164k cocowholebody code15 codesearchnet codexglue cofw cola comma2k19 commonsenseqa commonvoice
    conll conll03 conll2003 conll2012 connect4 consep cora coswara covid covid19 covidx covtype cpsc cpsc2018 crc100k
    creditcard crema cremad criteo crowdhuman csj csmsc ctw ctw1500 cub cub200 cub2002011 cuhk03 cuhkavenue cuhksysu culane
    cv11 cvc cvc300 cvcclinicdb cvccolondb cwru d4rl datacomp dbpedia dcase dcase2020 ddsm deap deepfashion deepfashion2
    deepglobe dermamnist df2k df2kost diabetes diaretdb didemo diginetica digits dior div2k diving48 dnd dnschallenge
    doclaynet docvqa dogs dogscats dogsvscats dolly doom dota dotav1 dotav2 drugbank dtd dtu duke dukemtmc dukemtmcreid
    dvs128 dvsgesture ecg edges2shoes eeg ego4d eicu electricity emg emnist emodb emovo enduro enwik8 enwiki enzymes
    epickitchens esc10 esc50 esd esol eth3d etth1 etth2 ettm1 ettm2 eurosat exchangerate eyepacs facades facedet fair1m
    fashionmnist fashionpedia fddb fer fer2013 ferplus fetchreach ffhq fgvcaircraft fisher fivek flappybird flare22 flickr2k
    flickr30k flickr8k floodnet flowers flowers102 flowers17 flyingchairs flyingthings fma fmnist food101 food11 food172
    foursquare freesolv freeway freihand frozenlake fsd50k fsdkaggle2018 funsd gigaspeech glas glint360k go1 gomoku gopro
    gowalla gqa gsc gscv2 gsm8k gtea gtsrb gtzan h36 h36m hagrid halfcheetah halpe ham10000 harth heart hellaswag higgs hiv
    hmdb51 hopper horse2zebra hotpotqa housing howto100m howtoqa human36m humaneval humanoid iam icbhi icdar icdar2013
    icdar2015 icdar2017 icdar2019 iemocap iiit5k ilsvrc ilsvrc2012 imagenet imagenet100 imagenet12k imagenet1k imagenet200
    imagenet2012 imagenet21k imagenet22k imagenetc imagenette imagenetv2 imagewoof imdb in12k in1k in21k in22k inat inat2017
    inat2018 inat2019 inat2021 inaturalist inbreast incart inshop interhand2d iris isaid isic isic2017 isic2018 isic2019
    isic2020 isprs isruc iwslt iwslt14 jamendo jarvis jarvisdft jester jft300m jhmdb jsut jvs k400 k600 k700 kather100k kdd
    kdd99 kddcup99 kiba kinetics kinetics400 kinetics600 kinetics700 kitchen kits19 kits23 kitti kitti2012 kitti2015 kmnist
    kvasir kvasirseg kws12 kws20 kws35 laion laion2b laion400m laion5b lastfm lc25000 levir levircd lfw libero libri2mix
    libri3mix librilight librimix librispeech libritts libritts360 lidc lipo lits lits17 ljs ljspeech llamas llava llff lol
    lolv1 lolv2 loveda ls100 ls960 lsp lsun lsunbedroom lsunchurch ludb luna16 lunarlander lvis lvisv1 lyft maestro
    magnatagatune malimg mapillary mario market market1501 mars massachusetts matbench materialsproject matterport3d maze2d
    mbpp md17 md22 medmnist megadepth megaface meld messidor messidor2 metaworld metfaces metrla middlebury mimic mimiccxr
    mimiciii mimiciv minecraft minigrid miniimagenet mipnerf360 mitadobe5k mitbih mitdb mitstates mjst mjsynth ml100k ml1m
    ml20m mmlu mnist mnli modelnet modelnet10 modelnet40 moleculenet montezuma monuseg mosei mosi mountaincar movielens
    movielens1m mp20 mpii mptrj mrpc ms1m ms1mv2 ms1mv3 mscoco msd msmarco msmt17 mspacman msrvtt msvd mtat mtg mujoco
    multi30k multinli musan musdb musdb18 musdb18hq mutag muv mvtec mvtecad nabirds nasbench201 nasdaq naturalquestions
    ncaltech101 ncars nci1 nerfsynthetic netflix newsqa nextqa nih nmnist nocaps nonspeech7k nq nsl nslkdd nsynth ntu120
    ntu120xsub ntu60 ntu60xsub nturgbd nuimages nuscenes nwpu nyu nyudepth nyudepthv2 nyuv2 o365 oasis oasst1 obj365
    objects365 oc20 oc22 occludedduke octmnist odir ogb ogbgmolhiv ogbgmolpcba ogbnarxiv ogbnproducts okvqa ontonotes
    openassistant openbmi openimages openwebtext opportunity organamnist organmnist othello oxfordflowers oxfordpets pamap2
    pandapush pandareach pannuke pascal pascalcontext pascalvoc pascalvoc2012 patchcamelyon pathmnist pcam pcqm4mv2 pdb
    pdbbind pems04 pems08 pemsbay pemsd4 pemsd7 pendulum perov5 pets physionet physionet2017 pickplace places places365
    plantdoc plantnet plantvillage pneumoniamnist pong posetrack posetrack18 potsdam ppg ppi procgen promise12 prostatex
    proteins prw ptb ptbtext ptbxl publaynet pubmed pusht qbert qm7 qm8 qm9 qmnist qnli qqp qvhighlights rafdb rain100h
    rain100l rain200h raindrop ravdess reacher reddit redpajama reds refcoco refcocog refcocoplus refinedweb rescuenet
    resisc45 retailrocket rhd rirs robomimic robosuite rsna rte s3dis sabdab samsum savee scannet scannetpp scanobjectnn
    sceneflow sciencequestion sdsd sdsdindoor sdsdoutdoor seaquest seediv semantickitti sen12ms set14 set5 shakespeare
    shakespearechar shanghaitech shanghaitecha shanghaitechb shapenet shapenetpart sharegpt sharegpt4v shd shemo shhs shrec
    sidd sider siim sintel skempi sleepedf sleepedf78 slimpajama smac smid snli so2sat somethingsomething sop sp500
    spaceinvaders spacenet speechcom speechcommand speechcommands speechcommandsv2 squad squad11 squad2 squadv1 squadv2
    sroie sst sst2 sst5 ssv1 ssv2 ssw60 stanfordcars stanforddogs starcraft steam sthv1 sthv2 stl10 stsb subesco
    summer2winter sun397 sunrgbd superglue supermario supermariobros svhn svt swbd swimmer switchboard synapse synth90k
    synthtext tanks tanksandtemples taxi tedlium tedlium2 tedlium3 tess text8 textvqa thepile things things3d thumos
    thumos14 tictactoe tieredimagenet timit tinyimagenet tinyshakespeare tinystories tissuemnist titanic toolhang
    totalsegmentator totaltext tox21 toxcast traffic trec triviaqa tuab tuev tuh tusimple tvqa twitter ucf101 ucfcc50
    ucfqnrf ucihar ucmerced ucsd udacity ukbb ultrachat uniref50 uniref90 unswnb unswnb15 urban100 urbansound urbansound8k
    urdu us8k usps utkface utzappos vaihingen vatex vbdemand vctk vehicleid veri veri776 vggface vggface2 vimeo vimeo90k
    visa visdrone visualgenome vizdoom voc voc07 voc0712 voc12 voc2007 voc2012 voicebank vox vox1 vox1dev vox2 vox2dev
    voxceleb voxceleb1 voxceleb2 vqa vqav2 walker2d waymo weather webface webface12m webface42m webface4m webvid weibo
    wenetspeech wflw wham whamr wholebody whucd wider widerface wiki wikipedia wikisql wikitext wikitext103 wikitext2 wine
    wisdm wmt wmt14 wmt16 wmt17 wmt19 wnli wsj wsj0 wsj02mix wt103 wt2 xnli xsum xview yelp yelp2018 yelppolarity yelpreview
    yfcc yfcc15m yoochoose zinc
""".split())  # fmt: skip
#: Words for the subject of the data; neighbours of them in a row are the data set ("breast_tumors").
SUBJECTS = frozenset("""
    breast brain lung skin liver kidney cardiac retina retinal fundus oct mri ct xray chest bone tooth dental cancer tumor
    tumors tumour tumours lesion lesions pneumonia malaria arrhythmia seizure sleep plant plants leaf leaves weed rice
    wheat tomato fruit fruits flower flowers dog cat bird birds fish insect animal animals breed breeds food face faces
    emotion emotions gender age sign signs traffic vehicle vehicles pedestrian plate license stock stocks price energy
    tabular timeseries sentiment spam toxic reviews tweets news fraud churn credit satellite aerial crack cracks defect
    defects steel garbage waste trash pokemon anime manga cartoon cartoons chess gesture gestures hand fingerprint mushroom
    coffee helmet smoke fire car cars
""".split())  # fmt: skip
#: What is done with the data; in front of a model's name it is no part of it.
TASKS = frozenset("detection classification segmentation recognition regression prediction class multiclass".split())
#: Families that nobody numbers by version: "unet_v3" is somebody's third try.
UNVERSIONED = frozenset(
    """
    unet lstm gru rnn cnn mlp dnn ann gan vae transformer encoder decoder autoencoder bilstm bigru classifier detector regressor
    resnet densenet vgg attention ppo dqn ddqn sac td3 a2c mappo policy actor critic gnn gcn gat net network siamese tcn crnn
    generator discriminator edge gatres
""".split()
)
#: Words that say nothing about the model or the data; they end a run of model words.
NOISE = frozenset("""
    a acc an and ascend at ave average averaged avg backup bad begin best bestmodel bo by checkpoint checkpoints chk chkp
    chkpt ckpt ckpts clean cleaned colab complete completed compressed consolidated convert converted copy coreml cp cpt cpu
    cuda cuda0 current custom data dataset datasets date debug decay default demo deploy dict dump early end ended entire ep
    epoch epochs eval example exp experiment export exported fakept file files final finalmodel fixed fold for from full gen
    get global good gpu hash hp hpo in infer inference init initial is it iter iters jit kaggle last latest learner
    lightning log loss md5 mdl merged metric metrics mine model model1 model2 model3 models module mps my net nets network
    new of official old on only onnx opt optim optimized optimizer optuna orig original our ours out output outputs
    parameter parameters params per pruned pt pth public pytorch raw ready recovery release released result results rgb run
    runs sample save saved saving script scripted search seed sha1 sha256 snapshot snapshots sota start state statedict
    states step steps stop stopped stopping swa team temp tensorrt test testing tflite the this time timestamp tmp to top
    torch tpu traced track train trained trainer training trial trt try ts tstamp tuned tuning val valid validation ver
    version weight weights whole with wt wts
""".split())  # fmt: skip
#: Name in `other` → the words for it.
_FLAG_WORDS = {
    "best": "best bestmodel bestepoch",
    "last": "last latest lastepoch lastmodel",
    "final": "final finalmodel",
    "ema": "ema",
    "teacher": "teacher",
    "student": "student",
    "pretrain": "pretrain pretrained pretraining",
    "finetuned": "finetune finetuned finetuning ft",
    "swa": "swa",
    "distilled": "distilled",
    "lora": "lora",
    "adapter": "adapter",
    "baseline": "baseline",
    "scratch": "scratch",
    "pruned": "pruned",
    "interrupted": "interrupted crash",
}
FLAGS = {word: name for name, words in _FLAG_WORDS.items() for word in words.split()}
OPTIMIZERS = frozenset(
    "adam adamw sgd rmsprop lamb lion adagrad radam amsgrad adadelta lars nadam adabelief ranger sam lbfgs adafactor".split()
)
LOSSES = frozenset("""
    bce crossentropy binarycrossentropy binarycrossentropywithlogits bcewithlogits bcewithlogitsloss crossentropyloss
    mseloss bceloss diceloss focalloss l1loss smoothl1loss tripletloss focal triplet nllloss huber ctcloss
""".split())  # fmt: skip
#: Edge lengths of images that models are known to take (the square ones of timm, mmdet, YOLO).
IMAGE_SIZES = frozenset((
    96, 112, 144, 160, 176, 192, 224, 240, 256, 260, 288, 299, 300, 320, 331, 336, 352, 368, 380, 384, 392, 416, 448, 456,
    480, 512, 518, 528, 544, 560, 576, 600, 608, 640, 672, 720, 768, 800, 896, 1024, 1280, 1536,
))  # fmt: skip
#: Layer counts and patch sizes that follow a family's name after a separator ("vit_b_16", "resnet_50").
DEPTHS = frozenset(
    (8, 11, 13, 14, 16, 18, 19, 20, 32, 34, 44, 50, 53, 56, 75, 100, 101, 110, 121, 152, 161, 164, 169, 200, 201, 264)
)

#: Words for the epoch and the step that a number behind them counts.
EPOCH = frozenset("epoch epochs ep eps epo epc".split())
STEP = frozenset(
    "step steps iter iters iteration iterations it its itr globalstep update updates upd kimg nimg timesteps timestep".split()
)

SUFFIXES = (
    ".pth", ".pt", ".ckpt", ".tar", ".th", ".bin", ".safetensors", ".params", ".pkl", ".pickle", ".model", ".h5", ".hdf5",
    ".onnx", ".npz", ".pdparams", ".weights", ".gz", ".zip", ".t7", ".caffemodel", ".pyth", ".pt2", ".ptl", ".keras",
    ".mdl", ".torchscript", ".ts", ".state", ".msgpack", ".chkpt", ".checkpoint", ".jit",
)  # fmt: skip


def is_family(word: str) -> bool:
    """Say whether a lower-case word names a model family, by itself or by its ending or beginning."""
    return word in ARCHITECTURES or (len(word) > 4 and (word.endswith(FAMILY_ENDINGS) or word.startswith(FAMILY_STARTS)))
