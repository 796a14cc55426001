"""English."""

from __future__ import annotations

from cavvy.tasks.lexicon.words import Words

__all__ = ["ENGLISH"]

ENGLISH = Words(
    good=(
        "excellent outstanding superb brilliant* amazing amazed wonderful* fantastic* magnificent* marvelous*"
        " marvellous* phenomenal* perfect perfectly perfection awesome terrific exceptional* best love loves loved"
        " loving adore* flawless* masterpiece incredible incredibly delightful* thrilled overjoyed ecstatic stellar"
        " sublime extraordinar* spectacular* breathtaking stunning* gorgeous glorious* exquisite* world-class"
        " unbeatable highly_recommend highly_recommended must_have must_see blown_away",
        "good great greatly nice nicely happy happily happiness happier happiest glad pleased pleasing pleasant*"
        " pleasure enjoy* fun funny beautiful* lovely charming kind kindness friendly helpful helpfully recommend*"
        " recommendation satisf* delicious tasty yummy fresh fast_delivery impressive impressed impress reliable"
        " reliably reliability comfortable comfortably comfy elegant* smooth smoothly success* succeed* win wins"
        " winning winner won better improve* improvement* favorite favourite favor favour grateful* gratitude thank"
        " thanks thankful* thank_you appreciat* admir* brave bravery courage* generous* hope hopeful* hopefully"
        " inspire* inspiring inspiration* joy joyful* cheerful* laugh* smile* smiling cute sweet* attractive* bright"
        " brightly clever* smart wise creative* innovative efficient* effective* valuable worth worthwhile benefit*"
        " convenient* easy easily easier easiest intuitive* responsive professional* polite* courteous* attentive*"
        " welcoming warm warmly safe safely proud proudly peaceful* relax* refreshing remarkable remarkably superior"
        " top-notch first-rate excited exciting excitement fascinating engaging captivating compelling entertaining"
        " hilarious witty heartwarming touching celebrat* congratulations congrats bravo hooray yay wow triumph*"
        " thriv* flourish* prosper* victory victorious rocks well_done no_problem no_problems no_issues"
        " no_complaints can't_complain works_well worked_well well_made well_written can't_wait couldn't_be",
        "fine ok okay decent* solid* useful usefully clean cleanly neat neatly handy affordable cheap_and"
        " reasonable reasonably fair fairly_priced calm calmly stable stably steady fresh* interesting interested"
        " popular* quick quickly simple simply sturdy durable robust* trust* honest* genuine* accurate* correct"
        " correctly like likes liked liking agree agrees agreed support supportive secure securely healthy strong"
        " strongly promising positive* gain gains gained growth profit profitable profits reward* rewarding"
        " advantage* well clear clearly tidy spacious roomy quiet wish_i'd_found glad_i",
    ),
    bad=(
        "terrible terribly awful awfully horrible horribly horrid horrific* worst hate hates hated hateful hatred"
        " disgust* appalling* atrocious* abysmal* dreadful* pathetic* unacceptable unbearabl* useless* worthless*"
        " nightmare* disaster* catastroph* scam* fraud* garbage trash rubbish crap crappy shit* sucks sucked suck"
        " vile despicabl* loath* despis* abhor* furious* outrag* infuriat* devastat* tragic* tragedy horrendous*"
        " excruciating* revolting repulsive rip-off ripped_off never_again waste_of do_not_buy stay_away avoid_at",
        "bad badly poor poorly worse worsen* sad sadly sadness unhappy unhappily disappoint* let_down angry angrily"
        " anger annoy* irritat* frustrat* upset* upsetting hurt* hurts pain* painful* suffer* cry crying cried"
        " lonely depress* miserabl* misery gloomy broken breaks broke break_down fail* failure failed fault* faulty"
        " defect* damaged damage damages destroy* ruin* wrong wrongly error* bug bugs buggy crash* freezes hang_up"
        " lag lags laggy slow slowly slower late delay* delayed rude rudely unfriendly unhelpful unprofessional*"
        " dishonest* lie lies lied lying liar* cheat* steal* stole stolen theft dirty filthy smelly stink* stinks"
        " ugly uncomfortabl* inconvenient* difficult difficulty confusing confused confus* complicated boring bored"
        " bore dull bland stale tasteless flavorless overpriced expensive costly overcooked undercooked cold_food"
        " unreliab* unsafe danger* dangerous* threat* threaten* fear* feared afraid scared scary terrif* worri*"
        " worry* anxious* anxiety stress* stressful problem* trouble* issue issues complain* complaint* refund*"
        " regret* sorry shame* shameful* embarrass* guilty blame* lose loses losing loser lost loss losses defeat*"
        " kill* killed murder* death dead die died dies dying victim* war attack* violen* abus* crisis corrupt*"
        " crime* criminal* illegal* poison* toxic sick sickness ill illness disease* injur* wound* cruel* evil nasty"
        " mean-spirited stupid* idiot* ridiculous* nonsense absurd* incompeten* inferior inadequate* insufficient*"
        " unfair* unjust* biased hostile offensive* insult* reject* refus* terrified mediocre lousy shoddy flimsy"
        " waste* wasted pointless* hopeless* helpless* unusable unplayable unresponsive misleading mislead*"
        " deceptive* falls_apart fell_apart stopped_working not_working money_back expected_more never_buying"
        " don't_care doesn't_care doesn't_work didn't_work gave_up",
        "lack lacks lacking lacked missing miss misses noisy loud hard harder weak weakly weakness* limited unclear"
        " uncertain doubt* doubtful* concern* concerned risk* risky negativ* tired tiring exhaust* unfortunat*"
        " unlucky messy mess clumsy awkward* heavy outdated old-fashioned cheaply cheap-looking so-so meh decline*"
        " drop drops dropped debt* deficit* unemploy* protest* critic* against hesitant* dislike* disagree*"
        " unpleasant* unwanted odd strange weird too_small too_big too_short too_long too_much too_many not_worth",
    ),
    stronger=(
        "very really extremely incredibly absolutely totally completely utterly so super highly truly deeply"
        " exceptionally remarkably especially particularly most insanely hugely entirely definitely real damn too"
        " always"
    ),
    weaker=(
        "slightly somewhat fairly rather little bit kinda sort-of kind-of almost partly mildly barely sometimes quite"
    ),
    negations=(
        "not no never none nobody nothing neither nor nowhere cannot without hardly scarcely dont doesnt didnt isnt"
        " wasnt wont cant couldnt wouldnt shouldnt aint arent havent hasnt lack lacks lacking"
    ),
    buts="but however although though yet nevertheless nonetheless except",
)
