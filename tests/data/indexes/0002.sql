BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE audit (
	id INTEGER NOT NULL, 
	at FLOAT NOT NULL, 
	what VARCHAR(64) NOT NULL, 
	root BLOB, 
	path BLOB, 
	sha256 VARCHAR(64), 
	job VARCHAR(64) NOT NULL, 
	run VARCHAR(64) NOT NULL, 
	why TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "audit" VALUES(1,1.79590091356585907934e+09,'sidecar.written',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130325F6D657461646174612E6A736F6E','00e331ed3adc167046012e3f5f33722206dc897d82153edc824f3003efcdf304','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(2,1.79590091356513237947e+09,'checkpoint.ready',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E707468','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559','ingest','c62359d28608','{"status": "ok"}');
INSERT INTO "audit" VALUES(3,1.79590091356798577312e+09,'sidecar.written',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368335F6D657461646174612E6A736F6E','776f54a40d480c717d9112955f9d1a2f3179f44b03dd342d543c3a4aa4813e8a','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(4,1.79590091356746935839e+09,'checkpoint.ready',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E707468','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7','ingest','c62359d28608','{"status": "ok"}');
INSERT INTO "audit" VALUES(5,1.79590091559316325183e+09,'export.written',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E7361666574656E736F7273','f549c004e0fa461872bea7e06b8b6bd89db4fcb60bc20e89ad3c9413a112b0e0','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(6,1.79590091559500098232e+09,'export.written',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E7361666574656E736F7273','f549c004e0fa461872bea7e06b8b6bd89db4fcb60bc20e89ad3c9413a112b0e0','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(7,1.79590091559500098232e+09,'export.verified',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E707468','f549c004e0fa461872bea7e06b8b6bd89db4fcb60bc20e89ad3c9413a112b0e0','export','c62359d28608','{"target": "safetensors", "source": "fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559", "file": "BiLSTM_ECG_acc87_20250102.safetensors"}');
INSERT INTO "audit" VALUES(8,1.79590091560288381581e+09,'sidecar.written',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130325F6D657461646174612E6A736F6E','0ba06d81d70cb3d3e7ff8f32e3daa3a856859be48ce82e6089b56552594b07f8','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(9,1.79590091564602375023e+09,'export.written',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E7361666574656E736F7273','1532b3a782875cc86dad4d1bcddc10a9585389374acf287c5889f84a4300e4ae','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(10,1.79590091564775609965e+09,'export.written',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E7361666574656E736F7273','1532b3a782875cc86dad4d1bcddc10a9585389374acf287c5889f84a4300e4ae','ingest','c62359d28608','{}');
INSERT INTO "audit" VALUES(11,1.79590091564775609965e+09,'export.verified',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E707468','1532b3a782875cc86dad4d1bcddc10a9585389374acf287c5889f84a4300e4ae','export','c62359d28608','{"target": "safetensors", "source": "fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7", "file": "CNN_digits_epoch3.safetensors"}');
INSERT INTO "audit" VALUES(12,1.79590091565233612056e+09,'sidecar.written',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368335F6D657461646174612E6A736F6E','52247c0f1edc8e898f76a241ab2e0f65026ecb31dc13e103d9519b1cfcc3b812','ingest','c62359d28608','{}');
CREATE TABLE contents (
	"key" VARCHAR(32) NOT NULL, 
	sha256 VARCHAR(64), 
	status VARCHAR(32) NOT NULL, 
	container VARCHAR(32) NOT NULL, 
	kind VARCHAR(32), 
	size BIGINT NOT NULL, 
	inspector_version INTEGER NOT NULL, 
	model_name TEXT, 
	dataset TEXT, 
	architecture TEXT, 
	epoch BIGINT, 
	step BIGINT, 
	date VARCHAR(64), 
	quantization TEXT, 
	stage TEXT, 
	parameters BIGINT NOT NULL, 
	dtypes TEXT, 
	inspected_at FLOAT NOT NULL, 
	payload TEXT NOT NULL, 
	details TEXT NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "contents" VALUES('d45c5b8c4ea9692ec5062f0e7461dae7','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559','ok','zip','state_dict',2229,2,'BiLSTM','ECG','BiLSTM',NULL,NULL,'2025-01-02',NULL,NULL,36,' float32 ',1.79590091356513237947e+09,'{"path":"","status":"ok","container":"zip","kind":"state_dict","sha256":"fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559","size_bytes":2229,"tensors":{"count":2,"parameters":36,"bytes":144,"dtypes":{"float32":36},"optimizer_bytes":0,"records":[]},"metadata":{"model_name":"BiLSTM","architecture":"BiLSTM","dataset":"ECG","metrics":{"accuracy":0.87},"epoch":null,"step":null,"date":"2025-01-02","quantization":null,"hyperparameters":{},"stage":null,"spellings":{"accuracy":"acc"},"other":{"summary":"linear(8\u21924)","input_size":8,"output_size":4},"sources":{"other.summary":{"where":"shapes","confidence":0.7},"other.input_size":{"where":"shapes","confidence":0.7},"other.output_size":{"where":"shapes","confidence":0.7},"model_name":{"where":"name","confidence":0.8},"dataset":{"where":"name","confidence":0.85},"date":{"where":"name","confidence":0.9},"metrics.accuracy":{"where":"name","confidence":0.9},"architecture":{"where":"name","confidence":0.8}}},"findings":[],"layers":[],"identity":null,"inspector_version":2}','[[{"name":"fc.weight","dtype":"float32","shape":[4,8],"bytes":128,"storage":"0","minimum":-2.2455577850341797,"maximum":1.6871134042739868,"norm":5.28712,"nan":0,"inf":0},{"name":"fc.bias","dtype":"float32","shape":[4],"bytes":16,"storage":"1","minimum":-1.5726652145385742,"maximum":-0.12324775755405426,"norm":1.71076,"nan":0,"inf":0}],[{"name":"fc","type":"linear","parameters":36,"bytes":144,"detail":{"in_features":8,"out_features":4,"bias":true}}]]');
INSERT INTO "contents" VALUES('a828a85d99195b855b17ef0a037c799c','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7','ok','zip','checkpoint',1903,2,'CNN','digits','CNN',3,NULL,NULL,NULL,NULL,32,' float32 ',1.79590091356746935839e+09,'{"path":"","status":"ok","container":"zip","kind":"checkpoint","sha256":"fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7","size_bytes":1903,"tensors":{"count":1,"parameters":32,"bytes":128,"dtypes":{"float32":32},"optimizer_bytes":0,"records":[]},"metadata":{"model_name":"CNN","architecture":"CNN","dataset":"digits","metrics":{"accuracy":0.9},"epoch":3,"step":null,"date":null,"quantization":null,"hyperparameters":{},"stage":null,"spellings":{"accuracy":"accuracy"},"other":{"summary":"linear(8\u21924)","input_size":8,"output_size":4},"sources":{"epoch":{"where":"content:epoch","confidence":1.0},"metrics.accuracy":{"where":"content:metrics.accuracy","confidence":1.0},"other.summary":{"where":"shapes","confidence":0.7},"other.input_size":{"where":"shapes","confidence":0.7},"other.output_size":{"where":"shapes","confidence":0.7},"model_name":{"where":"name","confidence":0.8},"dataset":{"where":"name","confidence":0.85},"architecture":{"where":"name","confidence":0.8}}},"findings":[],"layers":[],"identity":null,"inspector_version":2}','[[{"name":"model.fc.weight","dtype":"float32","shape":[4,8],"bytes":128,"storage":"0","minimum":-1.8821425437927246,"maximum":2.406978130340576,"norm":6.44177,"nan":0,"inf":0}],[{"name":"fc","type":"linear","parameters":32,"bytes":128,"detail":{"in_features":8,"out_features":4,"bias":false}}]]');
CREATE TABLE exports (
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	path BLOB NOT NULL, 
	target VARCHAR(64) NOT NULL, 
	source_sha256 VARCHAR(64) NOT NULL, 
	settings_digest VARCHAR(64) NOT NULL, 
	recipe_digest VARCHAR(64), 
	verdict VARCHAR(16) NOT NULL, 
	file BLOB, 
	sha256 VARCHAR(64), 
	size_bytes BIGINT, 
	dev BIGINT, 
	ino BIGINT, 
	size BIGINT, 
	mtime_ns BIGINT, 
	ctime_ns BIGINT, 
	reason TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	proof TEXT NOT NULL, 
	PRIMARY KEY (host, root, path, target)
);
INSERT INTO "exports" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E707468','safetensors','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559','44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',NULL,'verified',X'42694C53544D5F4543475F61636338375F32303235303130322E7361666574656E736F7273','f549c004e0fa461872bea7e06b8b6bd89db4fcb60bc20e89ad3c9413a112b0e0',312,65024,1556517,312,1795900915546650451,1795900915594588308,'',1.79590091559307718279e+09,'{"versions":{"safetensors":"0.8.0","numpy":"2.4.6"},"weights":{"tolerance":{},"compared":2,"max_abs":0.0,"max_rel":0.0,"worst":null},"format":{"tensors":2,"tied":0,"weights_bytes":144},"sandbox":{"applied":["priority","rlimits","namespaces","parent_death","no_new_privs","capabilities","landlock","seccomp"],"missing":[],"landlock_abi":7},"seconds":{"export":0.019,"verify":0.029},"size_ratio":2.1667}');
INSERT INTO "exports" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E707468','safetensors','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7','44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',NULL,'verified',X'434E4E5F6469676974735F65706F6368332E7361666574656E736F7273','1532b3a782875cc86dad4d1bcddc10a9585389374acf287c5889f84a4300e4ae',240,65024,1556513,240,1795900915602774501,1795900915647168487,'',1.79590091564591360093e+09,'{"versions":{"safetensors":"0.8.0","numpy":"2.4.6"},"weights":{"tolerance":{},"compared":1,"max_abs":0.0,"max_rel":0.0,"worst":null},"format":{"tensors":1,"tied":0,"weights_bytes":128},"sandbox":{"applied":["priority","rlimits","namespaces","parent_death","no_new_privs","capabilities","landlock","seccomp"],"missing":[],"landlock_abi":7},"seconds":{"export":0.006,"verify":0.027},"size_ratio":1.875}');
CREATE TABLE hyperparameters (
	content VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	number FLOAT, 
	text TEXT NOT NULL, 
	PRIMARY KEY (content, name), 
	FOREIGN KEY(content) REFERENCES contents ("key") ON DELETE CASCADE
);
CREATE TABLE metrics (
	content VARCHAR(32) NOT NULL, 
	name VARCHAR(200) NOT NULL, 
	value FLOAT NOT NULL, 
	PRIMARY KEY (content, name), 
	FOREIGN KEY(content) REFERENCES contents ("key") ON DELETE CASCADE
);
INSERT INTO "metrics" VALUES('d45c5b8c4ea9692ec5062f0e7461dae7','accuracy',0.87);
INSERT INTO "metrics" VALUES('a828a85d99195b855b17ef0a037c799c','accuracy',0.9);
CREATE TABLE outputs (
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	path BLOB NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	what VARCHAR(32) NOT NULL, 
	written_at FLOAT NOT NULL, dev BIGINT, ino BIGINT, size BIGINT, mtime_ns BIGINT, ctime_ns BIGINT, 
	PRIMARY KEY (host, root, path)
);
INSERT INTO "outputs" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130325F6D657461646174612E6A736F6E','0ba06d81d70cb3d3e7ff8f32e3daa3a856859be48ce82e6089b56552594b07f8','sidecar',1.79590091560288381581e+09,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "outputs" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368335F6D657461646174612E6A736F6E','52247c0f1edc8e898f76a241ab2e0f65026ecb31dc13e103d9519b1cfcc3b812','sidecar',1.79590091565233612056e+09,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "outputs" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E7361666574656E736F7273','f549c004e0fa461872bea7e06b8b6bd89db4fcb60bc20e89ad3c9413a112b0e0','export',1.79590091559500098232e+09,65024,1556517,312,1795900915546650451,1795900915594588308);
INSERT INTO "outputs" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E7361666574656E736F7273','1532b3a782875cc86dad4d1bcddc10a9585389374acf287c5889f84a4300e4ae','export',1.79590091564775609965e+09,65024,1556513,240,1795900915602774501,1795900915647168487);
CREATE TABLE places (
	id INTEGER NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	path BLOB NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	content VARCHAR(32), 
	sha256 VARCHAR(64), 
	dev BIGINT NOT NULL, 
	ino BIGINT NOT NULL, 
	size BIGINT NOT NULL, 
	mtime_ns BIGINT NOT NULL, 
	ctime_ns BIGINT NOT NULL, 
	first_seen_at FLOAT NOT NULL, 
	state_since FLOAT NOT NULL, 
	shown TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (host, root, path), 
	FOREIGN KEY(content) REFERENCES contents ("key")
);
INSERT INTO "places" VALUES(1,'@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'42694C53544D5F4543475F61636338375F32303235303130322E707468','ready','d45c5b8c4ea9692ec5062f0e7461dae7','fb4706e7aa7a158d17b396499990c8d9e39392d10930dd30f2494babbcac0559',65024,1556503,2229,1795900912106814429,1795900912106814429,1.79590091356513237947e+09,1.79590091356513237947e+09,'BiLSTM_ECG_acc87_20250102.pth');
INSERT INTO "places" VALUES(2,'@HOST@',X'2F7372762F747261696E65645F6D6F64656C73',X'72756E732F434E4E5F6469676974735F65706F6368332E707468','ready','a828a85d99195b855b17ef0a037c799c','fc2f19834889d74679427a31bd2b32d6ac1fd3e12a6d764f5764d6c944b83ef7',65024,1556504,1903,1795900912106814429,1795900912106814429,1.79590091356746935839e+09,1.79590091356746935839e+09,'runs/CNN_digits_epoch3.pth');
CREATE TABLE recipes (
	host VARCHAR(255) NOT NULL, 
	group_name TEXT NOT NULL, 
	recipe TEXT NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64), 
	at FLOAT NOT NULL, 
	PRIMARY KEY (host, group_name)
);
CREATE TABLE roots (
	host VARCHAR(255) NOT NULL, 
	root BLOB NOT NULL, 
	root_id VARCHAR(64), 
	PRIMARY KEY (host, root)
);
INSERT INTO "roots" VALUES('@HOST@',X'2F7372762F747261696E65645F6D6F64656C73','806372fbd28130604fdfe881d977c396');
CREATE INDEX ix_places_content ON places (content);
CREATE INDEX ix_places_sha256 ON places (sha256);
CREATE INDEX places_by_file ON places (ino, size, mtime_ns);
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id) BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
COMMIT;
