"""French, Spanish, Italian and Portuguese."""

from __future__ import annotations

from cavvy.tasks.lexicon.words import Words

__all__ = ["FRENCH", "ITALIAN", "PORTUGUESE", "SPANISH"]

FRENCH = Words(
    good=(
        "excellent* magnifique* merveill* fantastique* parfait* génial* géniale* superbe* extraordinaire*"
        " formidable* sublime* exceptionnel* remarquable* adore* adoré* j'adore impeccable* incroyable* meilleur*"
        " splendide* ravi* chef-d'œuvre délicieu*",
        "bon bonne bons bonnes bien beau belle beaux belles aime aimé j'aime aimer heureu* content* satisf*"
        " agréable* recommand* merci plaisir* joie joyeu* sympa* gentil* aimable* accueillant* chaleureu* efficace*"
        " fiable* rapide* pratique* facile* confortable* élégant* propre* réussi* succès bravo mieux plaît amusant*"
        " drôle* intéressant* passionnant* touchant* impressionn* charmant* espoir* fier fière savoureu* soigné*"
        " gagn* victoire*",
        "correct* utile* solide* calme* frais fraîche* moderne* clair* simple* honnête* stable* positif* positive*",
    ),
    bad=(
        "horrible* affreu* épouvantable* terrible* catastroph* atroce* abominable* déteste* détesté* haine hais"
        " pire* exécrable* inadmissible* inacceptable* honteu* honte scandaleu* arnaque* cauchemar* nul nulle nuls"
        " nulles dégueulasse* dégoût* immonde* plus_jamais désastre*",
        "mauvais* mal triste* tristesse déçu* décept* décev* colère fâché* énerv* agaç* malheureu* dommage cassé*"
        " défectueu* défaut* panne* erreur* endommagé* détrui* lent lente lents lentes retard* impoli* désagréable*"
        " sale* pue laid* moche* inconfortable* ennuyeu* ennui* cher chère chers chères douleur* souffr* peur*"
        " inquiet* inquiét* problème* difficile* compliqué* plaint* plainte* perdu* perte* perd* mort* guerre*"
        " victime* danger* malad* crise* violen* attaque* stupide* idiot* absurde* inutile* mensong* ment échec*"
        " échou* marche_pas fonctionne_pas vaut_pas gâch* regrett* froid_servi fade* bruyant* remboursement médiocre*"
        " incompéten* frustr*",
        "manque* absent* faible* fatigu* lourd* flou* négatif* négative* inconvénient* critiqu* moyen moyenne bof"
        " désordre risque* doute* étroit*",
    ),
    stronger=(
        "très vraiment extrêmement absolument totalement tellement si trop super hyper particulièrement complètement"
    ),
    weaker="peu assez plutôt légèrement presque parfois quasiment moyennement",
    negations="pas ne n' jamais aucun aucune rien ni sans personne guère",
    buts="mais cependant pourtant toutefois néanmoins",
    trailing="pas",
)

SPANISH = Words(
    good=(
        "excelente* magnífic* maravillos* fantástic* perfect* genial* estupend* extraordinari* increíble*"
        " espectacular* fenomenal* sublime* excepcional* mejor mejores encanta encantan encantó amo amor impecable*"
        " inmejorable* delicios* espléndid* fabulos*",
        "bueno buena buenos buenas buen bien bonit* hermos* bello bella lind* feliz* felic* alegr* content* satisf*"
        " agradable* recomiend* recomend* gracias gusta gustan gustó gustaron rico rica ricos sabros* amable*"
        " simpátic* atent* útil* eficien* fiable* rápid* cómod* fácil* limpi* éxito* exitos* ganar ganó ganador*"
        " victoria* divertid* interesante* emocionante* impresion* encantador* orgullos* esperanza* disfrut* placer"
        " acogedor* elegante* barat* vale_la",
        "correct* sólid* tranquil* fresc* modern* clar* sencill* honest* estable* positiv* adecuad* ventaj*",
    ),
    bad=(
        "horrible* terrible* pésim* espantos* horroros* asqueros* asco odio odia odié peor peores fatal* desastr*"
        " catástrof* catastróf* inaceptable* vergüenza vergonzos* estafa* estafador* pesadilla* basura mierda"
        " nunca_más repugnante* lamentable* intolerable*",
        "malo mala malos malas mal triste* tristeza decepcion* decepción enfad* enoj* ira rabia molest* frustr*"
        " infeliz desgraciad* rot* roto rota defectuos* defecto* fall* falló error* errores dañ* destru* lent* tarde"
        " retras* groser* maleducad* antipátic* desagradable* suci* apesta feo fea feos feas incómod* aburrid* car*"
        " caro cara dolor* sufr* miedo* preocup* problema* difícil* complicad* confus* queja* perd* pérdida* muert*"
        " murió guerra* víctima* peligr* enferm* crisis violen* ataque* estúpid* idiota* absurd* inútil* mentir*"
        " mentira* fracas* no_funciona no_funcionan lástima arrepent* arrepient* desperdici* mediocre* incompeten*"
        " sos* insípid* ruidos*",
        "falta* débil* cansad* pesad* negativ* desventaj* crític* regular riesg* dud* estrech* desorden*",
    ),
    stronger=(
        "muy realmente extremadamente absolutamente totalmente tan demasiado súper super especialmente"
        " completamente bastante"
    ),
    weaker="poco algo ligeramente casi medio",
    negations="no nunca jamás ningún ninguna ninguno nada nadie ni sin tampoco",
    buts="pero sino aunque embargo",
)

ITALIAN = Words(
    good=(
        "eccellent* ottim* magnific* meraviglios* fantastic* perfett* geniale* straordinari* incredibil* stupend*"
        " splendid* belliss* buoniss* gentiliss* favolos* eccezional* migliore migliori adoro amo amore impeccabil*"
        " squisit* delizios* superb*",
        "buono buona buoni buone buon bene bello bella belli belle bel felic* content* soddisf* piacevol* consigl*"
        " consiglio consigliat* grazie piace piaciut* piacere gentil* simpatic* cordial* disponibil* utile*"
        " efficient* affidabil* veloc* comod* facil* pulit* success* vincere vinto vincent* vittori* divertent*"
        " interessant* emozionant* accoglient* orgoglios* speranz* gioia allegr* gustos* elegant* curat*"
        " professional*",
        "corrett* solid* tranquill* fresc* modern* chiar* semplic* onest* stabil* positiv* discret* vantagg*",
    ),
    bad=(
        "orribil* terribil* pessim* orrend* schif* odio odia peggiore peggior* peggio disastr* catastrof*"
        " inaccettabil* vergogn* truff* incubo spazzatura merda mai_più disgustos* vergognos* penos*",
        "cattiv* male brutt* triste* tristezza delus* deludent* arrabbi* rabbia fastidi* irritant* infelic*"
        " purtroppo peccato rotto rotta rotti difett* guast* errore errori danneggi* distrut* lent* ritard* scortes*"
        " maleducat* antipatic* spiacevol* sporc* puzza* scomod* noios* noia car* caro cara costos* dolor* soffr*"
        " paura* preoccup* problem* difficil* complicat* confus* lament* reclam* pers* perdit* perd* mort* morto"
        " guerra* vittim* pericol* malat* crisi violen* attacc* stupid* idiot* assurd* inutil* bugi* fallit*"
        " falliment* non_funziona non_funzionano non_vale pent* sprec* mediocr* incompetent* insipid*",
        "manca* mancanza debol* stanc* pesant* negativ* svantagg* critic* rischi* dubbi* rumoros* disordin*",
    ),
    stronger=(
        "molto davvero estremamente assolutamente totalmente così troppo veramente particolarmente completamente super"
    ),
    weaker="poco abbastanza leggermente quasi piuttosto",
    negations="non mai nessun nessuno nessuna niente nulla né senza neanche nemmeno",
    buts="ma però tuttavia eppure",
)

PORTUGUESE = Words(
    good=(
        "excelente* ótim* magnífic* maravilhos* fantástic* perfeit* genial* extraordinári* incríve* incrível"
        " espetacular* sensacional* excepcional* melhor melhores adoro adorei amo amei amor impecáve* impecável"
        " delicios* esplêndid*",
        "bom boa bons boas bem bonit* lind* belo bela feliz* felic* alegr* content* satisf* satisfeit* agradáve*"
        " agradável recomend* obrigado obrigada gosto gostei gostamos gostos* simpátic* gentil* atencios* útil úteis"
        " eficien* confiáve* confiável rápid* confortáve* confortável fácil fáceis limp* sucesso* ganhar ganhou"
        " vitória* divertid* interessante* emocionante* impression* encantador* orgulh* esperança* prazer acolhedor*"
        " elegante* barat* a_pena caprich*",
        "corret* sólid* tranquil* fresc* modern* clar* simples honest* estáve* estável positiv* adequad* vantage*",
    ),
    bad=(
        "horríve* horrível terríve* terrível péssim* pavoros* nojent* nojo odeio odiei ódio pior piores desastr*"
        " catástrof* catastrófic* inaceitáve* inaceitável vergonh* golpe* fraude* pesadelo* lixo merda nunca_mais"
        " repugnante* lamentáve* lamentável",
        "mau má maus más ruim ruins mal triste* tristeza decepcion* decepção desapont* raiva irrit* frustr*"
        " infeliz* infelizmente quebrad* quebrou defeit* falh* erro erros danific* destru* lent* atras* grosseir*"
        " mal-educad* antipátic* desagradáve* desagradável suj* fede feio feia desconfortáve* desconfortável chat*"
        " entediante* caro cara caros dor dores sofr* medo* preocup* problema* difícil difíceis complicad* confus*"
        " reclam* perd* perda* mort* morreu guerra* vítima* perig* não_funciona não_funcionam doente* doença* crise*"
        " violên* violent* ataque*"
        " estúpid* idiota* absurd* inútil inúteis mentir* fracass* pena arrepend* desperdíc* desperdiç* medíocre*"
        " incompetent* insoss*",
        "falta* fraco fraca cansad* pesad* negativ* desvantage* crític* risco* dúvid* barulhent* desorganiz*",
    ),
    stronger=(
        "muito realmente extremamente absolutamente totalmente tão demais super especialmente completamente bastante"
    ),
    weaker="pouco algo ligeiramente quase meio",
    negations="não nunca jamais nenhum nenhuma nada ninguém nem sem tampouco",
    buts="mas porém contudo entretanto embora",
)
