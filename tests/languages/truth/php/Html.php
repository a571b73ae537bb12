<h1>A page</h1>
<?php /** Shows. */
function show($x) { ?>
    <p><?= $x ?></p>
<?php }

/** Ends it. */
function finish() { return 1; }
?>
<footer></footer>
