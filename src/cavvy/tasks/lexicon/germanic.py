"""German and Dutch."""

from __future__ import annotations

from cavvy.tasks.lexicon.words import Words

__all__ = ["DUTCH", "GERMAN"]

GERMAN = Words(
    good=(
        "ausgezeichnet* hervorragend* fantastisch* großartig* grossartig* wunderbar* perfekt* exzellent* brillant*"
        " genial* wunderschön* traumhaft* überragend* sensationell* begeister* liebe liebt lieben liebe* beste bester"
        " bestes"
        " besten herrlich* fabelhaft* phänomenal* makellos* vorzüglich* spitze spitzenmäßig* unschlagbar*"
        " sehr_empfehlenswert",
        "gut gute guter gutes guten gutem toll tolle toller tolles tollen super schön* freut freue freuen freude"
        " froh fröhlich* glücklich* zufrieden* angenehm* empfehl* empfehlenswert* empfohlen lecker* köstlich*"
        " schmackhaft* freundlich* nett* hilfreich* hilfsbereit* zuverlässig* beeindruck* besser* gefällt gefallen"
        " gelungen* erfolg* gewinn* gewonnen danke dank dankbar* lob* gelobt spaß spass lustig* interessant*"
        " spannend* bequem* komfortabel* elegant* einfach praktisch* sicher* schnell* pünktlich* sauber* preiswert*"
        " günstig* lohnt lohnen* gern gerne hoffnung* stolz* sympathisch* liebevoll* gemütlich* klasse prima wohl"
        " jeden_cent ich_mag"
        " wohlfühl* höflich* kompetent* keine_probleme",
        "okay ok solide* ordentlich* brauchbar* nützlich* stabil* fair* ruhig* frisch* modern* hochwertig* passt"
        " läuft funktioniert einwandfrei* problemlos* tadellos* positiv* vorteil*",
    ),
    bad=(
        "schrecklich* furchtbar* grauenhaft* grauenvoll* katastroph* entsetzlich* abscheulich* ekelhaft* eklig*"
        " hasse hasst hass hassen schlimmst* schlechtest* miserabel* unerträglich* unverschämt* betrug betrüger*"
        " abzocke schrott müll mist scheiße scheiss* alptraum albtraum nie_wieder frechheit unzumutbar*"
        " inakzeptabel*",
        "schlecht* schlimm* traurig* enttäusch* ärger* geärgert wütend* wut nerv* genervt leider schade kaputt*"
        " defekt* fehler* fehlerhaft* mangel* mangelhaft* beschädigt* zerstör* langsam* verspät* unfreundlich*"
        " unhöflich* unzuverlässig* unpünktlich* dreckig* schmutzig* stinkt stank hässlich* unbequem* langweilig*"
        " teuer überteuert* schmerz* leid leiden* angst ängst* sorge* problem* schwierig* kompliziert* verwirr*"
        " beschwer* reklam* verlor* verlier* verlust* tot tote tod gestorben stirbt krieg* opfer gefahr* gefährlich*"
        " krank* krise* gewalt* angriff* dumm* blöd* idiot* unsinn sinnlos* nutzlos* wertlos* überfordert*"
        " inkompetent* lüge* gelogen ungenießbar* versag* zu_spät nicht_wert mehr_erwartet meckern scheiter*"
        " gescheitert absturz abstürz* abgestürzt"
        " verschwend* zeitverschwendung geldverschwendung unbrauchbar* frustr* zweifel* bereu* lieblos*"
        " geschmacklos* versalzen* fade kalt_serviert",
        "laut* fehlt fehlen* fehlte schwach* schwer müde unklar* negativ* nachteil* kritik kritis* mäßig*"
        " mittelmäßig* naja umständlich* veraltet* eng stressig* riskant* risiko* ungern unangenehm* unpassend*",
    ),
    stronger=(
        "sehr wirklich äußerst extrem total absolut völlig überaus besonders so echt unglaublich wahnsinnig richtig zu"
    ),
    weaker="etwas ziemlich relativ eher einigermaßen kaum fast teilweise manchmal halbwegs",
    negations="nicht kein keine keinen keinem keiner keines nie niemals nichts weder ohne nirgends keinesfalls",
    buts="aber jedoch allerdings doch sondern trotzdem dennoch",
    trailing="nicht",
)

DUTCH = Words(
    good=(
        "uitstekend* fantastisch* geweldig* prachtig* perfect* briljant* heerlijk* schitterend* beste hou houdt top",
        "goed goede mooi* leuk* fijn* blij* gelukkig* tevreden aangenaam* aanrader aanbevel* lekker* vriendelijk*"
        " aardig* behulpzaam* betrouwbaar* indrukwekkend* beter* succes* bedankt dank dankbaar* plezier gezellig*"
        " makkelijk* handig* snel* schoon* comfortabel* genieten genoten trots* lief* interessant* spannend*",
        "prima oke oké degelijk* netjes nuttig* stabiel* rustig* eerlijk* duidelijk*",
    ),
    bad=(
        "verschrikkelijk* vreselijk* afschuwelijk* walgelijk* haat slechtste rampzalig* ramp waardeloos* waardeloze"
        " nachtmerrie oplichter* oplichting nooit_meer schandalig* belachelijk*",
        "slecht* verdrietig* teleurgesteld* teleurstell* boos* boze ergerlijk* irritant* helaas jammer kapot*"
        " defect* fout* beschadigd* traag* trage langzaam* laat onvriendelijk* onbeleefd* vies* vieze stinkt lelijk*"
        " saai* saaie duur* pijn* bang* angst* zorgen probleem* problemen moeilijk* ingewikkeld* klacht* klagen"
        " verlies* verloren dood oorlog* slachtoffer* gevaar* ziek* crisis geweld* dom* onzin nutteloos* leugen*"
        " gefaald werkt_niet mislukt* vervelend*",
        "luid* ontbreekt zwak* zwaar moe onduidelijk* negatief nadeel* kritiek matig* rommelig* koud",
    ),
    stronger="heel erg zeer echt ontzettend enorm extreem absoluut bijzonder zo super te",
    weaker="beetje redelijk vrij best wat soms bijna nogal",
    negations="niet geen nooit niets niemand zonder noch nergens",
    buts="maar echter toch hoewel",
    trailing="niet",
)
