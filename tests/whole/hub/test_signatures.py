"""`push --sign`, and `pull` and `check --identity`: what is signed, and what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

import vqazoo
from tests.whole.hub.models import REPO, refused, told
from vqazoo.errors import ConfigError, HubError, SignatureError
from vqazoo.publish.signatures import statement
from vqazoo.publish.signing import Signer, sign_upload
from vqazoo.publish.upload import prepare

pytest.importorskip("model_signing", reason="vqazoo[sign] is not installed")
SIGNATURE = "model.sig"


def write_keys(folder: Path, name: str, private=None, password: bytes | None = None) -> Path:
    """A key pair as openssl writes it: NAME.pem and NAME.pub."""
    private = private or ec.generate_private_key(ec.SECP256R1())
    how = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    pem, kind = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / f"{name}.pem").write_bytes(private.private_bytes(pem, kind, how))
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    (folder / f"{name}.pub").write_bytes(private.public_key().public_bytes(pem, public))
    return folder / f"{name}.pem"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    write_keys(folder, "mallory")
    return write_keys(folder, "ada")


@pytest.fixture
def identity(key: Path) -> Path:
    return key.with_suffix(".pub")


@pytest.fixture
def signed(hub, ada, folder: Path, key: Path) -> dict[str, bytes]:
    """The files of a signed repository."""
    vqazoo.push(folder, REPO, sign=str(key))
    return hub.files(REPO)


@pytest.fixture(scope="module")
def signed_folder(trained: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed model as a pull leaves it; not to be changed."""
    scratch = tmp_path_factory.mktemp("scratch")
    upload = prepare(trained, trained, "signed")
    folder = sign_upload(upload, Signer(str(key)), scratch, "signed", lambda line: None).folder
    (folder / "README.md").write_text(upload.fresh)
    (folder / "hub.json").write_text("{}")
    return folder


@pytest.fixture
def pulled(signed_folder: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(signed_folder, tmp_path / "pulled"))


def test_the_signature_is_one_of_the_library_and_covers_all_but_what_people_edit(
    signed, key, identity, tmp_path
):
    clone = tmp_path / "clone"
    for name, content in signed.items():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes(content)
    import model_signing.verifying

    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=identity)
    config.verify(clone, clone / SIGNATURE)  # raises where it does not hold
    said = statement(signed[SIGNATURE], SIGNATURE)
    assert set(said.sha256) == set(signed) - {"README.md", ".gitattributes", SIGNATURE}
    assert set(said.left_out) >= {"README.md", ".eval_results", ".gitattributes", SIGNATURE}


def test_a_signed_model_is_pulled_checked_and_answers(hub, signed, identity, tmp_path, capsys):
    place = tmp_path / "pulled"
    for _ in range(2):
        assert vqazoo.cli.run(["pull", f"hub:{REPO}", str(place), "--identity", str(identity)]) == 0
    err = capsys.readouterr().err
    assert f"Signed by the key '{identity}'; not covered: .gitattributes, README.md." not in err
    assert f"Signed by the key '{identity}'; not covered: README.md." in err
    assert vqazoo.cli.run(["check", str(place), "--identity", str(identity), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["lacking"] == []
    assert f"Signed by the key '{identity}'; not covered: README.md." in err
    assert vqazoo.load(f"dir:{place}").answers


def test_an_edited_card_on_the_hub_and_here_does_not_break_the_signature(
    hub, signed, identity, tmp_path, capsys
):
    card = signed["README.md"] + b"\nEdited on the Hub.\n"
    hub.commit(REPO, {"README.md": card, ".eval_results/others.yaml": b"[]"})
    place = vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled", identity=str(identity))
    assert (place / "README.md").read_bytes() == card
    told(["check", place, "--identity", identity], capsys)


# ---- what is refused ----------------------------------------------------------------------------


def altered(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    content = bytearray(files[name])
    content[len(content) // 2] ^= 1
    return {name: bytes(content)}


HARMS = {
    "an altered weight": (lambda files: altered(files, "model.safetensors"), "was altered"),
    "altered metrics": (lambda files: altered(files, "metrics.json"), "was altered"),
    "an added file": (lambda files: {"encoder-text/vocab.txt": b"x"}, "'encoder-text/vocab.txt'"),
    "an added unknown file": (lambda files: {"notes.txt": b"x"}, "'notes.txt'"),
    "a removed file": (lambda files: {"environment.json": None}, "'environment.json'"),
    "no signature": (lambda files: {SIGNATURE: None}, f"no {SIGNATURE}"),
    "another text": (lambda files: {SIGNATURE: b"{}"}, "is not a signature"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_was_changed_on_the_hub_is_refused_before_it_is_read(
    hub, signed, identity, tmp_path, monkeypatch, capsys, harm
):
    change, words = HARMS[harm]
    hub.commit(REPO, change(signed))
    from vqazoo.publish import pull as module

    for reader in ("read_folder", "read_config", "resolve", "fetch_checkpoint"):
        monkeypatch.setattr(module, reader, lambda *_, **__: pytest.fail("it was read"))
    place = tmp_path / "pulled"
    message = refused(["pull", f"hub:{REPO}", place, "--identity", identity], capsys)
    assert words in message
    assert not place.exists()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda place: flip(place / "model.safetensors"), "('model.safetensors' was altered)"),
        (lambda place: flip(place / "recipe.toml"), "('recipe.toml' was altered)"),
        (lambda place: (place / "more.txt").write_text("x"), "('more.txt' was added)"),
        (lambda place: (place / "log.jsonl").unlink(), "('log.jsonl' is gone)"),
        (lambda place: (place / SIGNATURE).unlink(), f"has no {SIGNATURE}, so nobody signed it"),
        (lambda place: flip(place / "answers.json"), "('answers.json' was altered)"),
    ],
)
def test_what_was_changed_in_a_folder_is_refused_before_it_is_loaded(
    pulled, identity, monkeypatch, capsys, harm, words
):
    harm(pulled)
    from vqazoo.checkpoint import loading

    monkeypatch.setattr(loading, "load_checkpoint", lambda *_: pytest.fail("it was loaded"))
    message = refused(["check", pulled, "--identity", identity], capsys)
    assert words in message
    assert "get it again" in message or "leave out --identity" in message


def flip(file: Path) -> None:
    file.write_bytes(altered({file.name: file.read_bytes()}, file.name)[file.name])


def test_the_key_of_somebody_else_is_refused_by_pull_and_check(
    signed, pulled, identity, tmp_path, capsys
):
    other = identity.with_name("mallory.pub")
    for command in (["pull", f"hub:{REPO}", tmp_path / "new"], ["check", pulled]):
        message = refused([*command, "--identity", other], capsys)
        assert f"is not a signature by the key '{other}' (ValueError: Key mismatch" in message


def test_a_signature_that_claims_another_key_is_refused(pulled, identity, capsys):
    """The hint of a key is no proof: it stands outside of what is signed."""
    other = identity.with_name("mallory.pub")
    bundle = json.loads((pulled / SIGNATURE).read_text())
    import hashlib

    bundle["verificationMaterial"]["publicKey"]["hint"] = hashlib.sha256(
        other.read_bytes()
    ).hexdigest()
    (pulled / SIGNATURE).write_text(json.dumps(bundle))
    assert "InvalidSignature" in refused(["check", pulled, "--identity", other], capsys)


def test_a_signature_that_leaves_out_the_weights_is_refused(pulled, key, identity, capsys):
    import model_signing

    (pulled / SIGNATURE).unlink()
    hashing = model_signing.hashing.Config().set_ignored_paths(
        paths=["model.safetensors", SIGNATURE]
    )
    config = model_signing.signing.Config().use_elliptic_key_signer(private_key=key)
    config.set_hashing_config(hashing).sign(pulled, pulled / SIGNATURE)
    message = refused(["check", pulled, "--identity", identity], capsys)
    assert "leaves out 'model.safetensors', which a signature of a model must cover" in message


def test_a_link_that_leads_out_is_refused_though_its_content_is_as_signed(
    pulled, identity, tmp_path, capsys
):
    shutil.move(pulled / "model.safetensors", tmp_path / "elsewhere")
    (pulled / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    message = refused(["check", pulled, "--identity", identity], capsys)
    assert "outside of its folder" in message


# ---- other signatures, and other ways to sign ---------------------------------------------------


def test_a_folder_that_the_librarys_own_command_signed_passes(folder, key, identity, capsys):
    sign = ["sign", "key", "--private_key", str(key), "--signature", str(folder / SIGNATURE)]
    subprocess.run([sys.executable, "-m", "model_signing", *sign, str(folder)], check=True)
    told(["check", folder, "--identity", identity], capsys)
    (folder / "README.md").write_text("edited")  # which that command covers
    message = refused(["check", folder, "--identity", identity], capsys)
    assert "('README.md' was altered)" in message


def test_an_encrypted_key_signs_with_its_password(folder, tmp_path, monkeypatch):
    locked = write_keys(tmp_path, "locked", password=b"open sesame")
    with pytest.raises(ConfigError, match="the password of an encrypted one is read from"):
        vqazoo.push(folder, REPO, sign=str(locked), dry_run=True)
    monkeypatch.setenv("VQAZOO_SIGN_PASSWORD", "open sesame")
    assert SIGNATURE in vqazoo.push(folder, REPO, sign=str(locked), dry_run=True).sizes


def test_what_is_no_key_is_told(folder, tmp_path, pulled, capsys):
    write_keys(tmp_path, "rsa", rsa.generate_private_key(65537, 2048))
    for name in ("rsa.pem", "nowhere.pem"):
        with pytest.raises(ConfigError, match="is not a private key of an elliptic curve"):
            vqazoo.push(folder, REPO, sign=str(tmp_path / name), dry_run=True)
    message = refused(["check", pulled, "--identity", tmp_path / "rsa.pub"], capsys)
    assert "is not a public key of an elliptic curve" in message
    message = refused(["check", pulled, "--identity", "ada@example.org"], capsys)
    assert "is no file with a public key, and no issuer vouches for it" in message
    message = refused(["check", pulled, "--issuer", "https://accounts.example.org"], capsys)
    assert "add --identity" in message


def test_without_the_package_it_is_named(pulled, identity, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    message = refused(["check", pulled, "--identity", identity], capsys)
    assert "pip install 'vqazoo[sign]'" in message


# ---- pushing again ------------------------------------------------------------------------------


def test_a_second_signed_push_of_the_same_files_makes_no_commit(hub, signed, folder, key):
    before = hub.repositories[REPO].resolve("main").sha
    assert vqazoo.push(folder, REPO, sign=str(key)).commit == before
    other = key.with_name("mallory.pem")
    assert vqazoo.push(folder, REPO, sign=str(other)).commit != before


def test_an_unsigned_push_of_other_files_takes_the_old_signature_away(
    hub, signed, folder, identity, tmp_path
):
    lines: list[str] = []
    vqazoo.push(folder, REPO, report=lines.append)  # the same files: the signature holds
    assert hub.files(REPO)[SIGNATURE] == signed[SIGNATURE]
    (folder / "metrics.json").write_text("[]")
    vqazoo.push(folder, REPO, report=lines.append)
    assert SIGNATURE not in hub.files(REPO)
    assert any("is of other files and goes" in line for line in lines)
    with pytest.raises(SignatureError, match="nobody signed it"):
        vqazoo.pull(f"hub:{REPO}", tmp_path / "pulled", identity=str(identity))


def test_a_repository_with_other_files_is_not_signed(hub, signed, folder, key):
    hub.commit(REPO, {"notes.txt": b"mine"})
    with pytest.raises(HubError, match=r"holds 'notes\.txt', which this push does not upload"):
        vqazoo.push(folder, REPO, sign=str(key))


# ---- sigstore -----------------------------------------------------------------------------------


def test_an_identity_with_an_issuer_is_handed_to_the_librarys_verifier(pulled, monkeypatch, capsys):
    from model_signing import verifying

    asked: list[dict[str, str]] = []

    def use(self: verifying.Config, **given: str) -> verifying.Config:
        asked.append(given)
        raise ConnectionError("no network here")

    monkeypatch.setattr(verifying.Config, "use_sigstore_verifier", use)
    who = ["--identity", "ada@example.org", "--issuer", "https://accounts.example.org"]
    message = refused(["check", pulled, *who], capsys)
    assert "sigstore's keys cannot be had (ConnectionError: no network here)" in message
    assert asked == [{"identity": "ada@example.org", "oidc_issuer": "https://accounts.example.org"}]


def test_a_signature_by_a_key_is_none_by_an_identity(pulled, monkeypatch, capsys):
    """The real verifier of sigstore, with the trust root that its package brings along."""
    from sigstore import models

    real = models.ClientTrustConfig.production
    monkeypatch.setattr(
        models.ClientTrustConfig, "production", lambda offline=True: real(offline=True)
    )
    who = ["--identity", "ada@example.org", "--issuer", "https://accounts.example.org"]
    message = refused(["check", pulled, *who], capsys)
    assert "is not a signature by 'ada@example.org', as 'https://accounts.example.org'" in message


def test_sigstore_is_asked_to_sign_by_who_is_logged_in(folder, hub, ada, monkeypatch):
    from model_signing import signing

    asked: list[dict[str, object]] = []

    def use(self: signing.Config, **given: object) -> signing.Config:
        asked.append(given)
        raise ConnectionError("no network here")

    monkeypatch.setattr(signing.Config, "use_sigstore_signer", use)
    vqazoo.push(folder, REPO, sign="sigstore", dry_run=True)
    assert asked == []  # whose log keeps every signature for ever
    with pytest.raises(SignatureError, match="sigstore cannot be asked for a signature"):
        vqazoo.push(folder, REPO, sign="sigstore")
    assert asked == [{"use_ambient_credentials": True}]
    assert REPO not in hub.repositories
